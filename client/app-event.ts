/** What a front end is told while it runs. */
import type { ConversationId } from '../base/bytes.ts';
import type { ChatError } from '../base/errors.ts';
import type { Message } from './message-table.ts';
import type { Notice } from './notice-table.ts';

export type AppEvent =
  /** one of our messages is accepted (isQueued: nobody there to take it now), delivered or failed */
  | { readonly on: 'state'; readonly message: Message; readonly isQueued: boolean }
  | { readonly on: 'message'; readonly message: Message }
  /** state: what somebody who is online says of himself beyond that */
  | {
      readonly on: 'presence';
      readonly username: string;
      readonly isOnline: boolean;
      readonly state: 'away' | 'dnd' | null;
    }
  | {
      readonly on: 'typing';
      readonly conversation: ConversationId;
      readonly username: string;
      readonly isTyping: boolean;
    }
  /** the group of a conversation is another, or (isIdle) was looked at and left as it is */
  | { readonly on: 'group'; readonly conversation: ConversationId; readonly isIdle: boolean }
  | { readonly on: 'connected' }
  | { readonly on: 'lost'; readonly error: ChatError; readonly willRetry: boolean }
  | { readonly on: 'waiting'; readonly ms: number }
  /** to be seen, and not against anything that was shown; `notice`: kept in the vault until it is told */
  | { readonly on: 'warning'; readonly text: string; readonly notice?: Notice }
  /** something false; the evidence is kept */
  | { readonly on: 'alarm'; readonly error: ChatError };
