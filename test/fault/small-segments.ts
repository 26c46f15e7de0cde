/** Loaded into a real chat-server before it starts: segments of its write-ahead log are small, so that they fill and are used again. */
import { substitute } from './substitute.ts';

export const SEGMENT_BYTES = 64 * 1024;

substitute('/server/log/segments.ts', { SEGMENT_BYTES: 'by.SEGMENT_BYTES' }, import.meta.url);
