/** The settings of parties outside the server, all off by default: who stamps its checkpoints with a time, and who cosigns them. */
import { optionalSetting, setting } from './settings.ts';
import { duration, listOf, path, string, Unwanted, type SettingType } from './setting-types.ts';

const URL_WANTS = 'an http or https URL without user, query and fragment';
const isHttpUrl = (text: string): boolean => {
  const url = URL.parse(text);
  return (
    url !== null &&
    ['http:', 'https:'].includes(url.protocol) &&
    `${url.username}${url.password}${url.search}${url.hash}` === '' &&
    !/[\s?#@]/.test(text)
  );
};
const httpUrl: SettingType<string> = {
  ...string(/^https?:\/\/\S+$/, URL_WANTS),
  parse: (raw) => {
    if (typeof raw !== 'string' || raw.length > 2048 || !isHttpUrl(raw)) throw new Unwanted(`want ${URL_WANTS}`);
    return raw;
  },
};

export interface WitnessSetting {
  readonly vkey: string;
  readonly url: string;
}
const WITNESS_WANTS = 'a vkey, a space, and an http or https URL';
/** Whether the vkey is one is found where keys are known. */
const witness: SettingType<WitnessSetting> = {
  wants: WITNESS_WANTS,
  schema: { type: 'string', pattern: '^[^+\\s]+\\+[0-9a-f]{8}\\+\\S+ https?://\\S+$' },
  parse: (raw) => {
    const [, vkey, url] =
      (typeof raw === 'string' && raw.length <= 4096 && /^([^+\s]+\+[0-9a-f]{8}\+\S+) (\S+)$/.exec(raw)) || [];
    if (vkey === undefined || url === undefined || !isHttpUrl(url)) throw new Unwanted(`want ${WITNESS_WANTS}`);
    return { vkey, url };
  },
  fromText: (text) => text,
};

export const OUTSIDE_SETTINGS = {
  tsaUrl: optionalSetting(
    'transcript.tsa_url',
    httpUrl,
    'Time-stamping authority (RFC 3161) that stamps the published checkpoint. It learns a hash, and nothing else.',
    { example: 'https://tsa.example.org/tsr' },
  ),
  tsaCa: optionalSetting(
    'transcript.tsa_ca',
    path,
    'Root certificates of that authority (PEM). Only time-stamps that they vouch for are logged.',
    { example: '/etc/chat-server/tsa-ca.crt' },
  ),
  tsaEveryMs: setting(
    'transcript.tsa_every',
    duration('1s', '20d'),
    'How often it is asked, if anything was logged since the last time.',
    { default: '1h' },
  ),
  witnesses: setting(
    'transcript.witness',
    listOf(witness, 0, 16),
    'Witnesses (C2SP tlog-witness) that cosign the published checkpoint: the key of each, and the URL that accepts checkpoints. Whoever answers there can stop the server by claiming that it was set back, so use https, or this machine.',
    {
      default: [],
      example: ['w.example+3e6d1c1c+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs https://w.example'],
    },
  ),
  witnessEveryMs: setting(
    'transcript.witness_every',
    duration('1s', '1d'),
    'How often the witnesses are shown the newest checkpoint.',
    { default: '10s' },
  ),
} as const;
