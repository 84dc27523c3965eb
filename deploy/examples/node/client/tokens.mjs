/** Tokens: their form, their hash, and where an HTTP request has one (RFC 6750). */
import { createHash } from 'node:crypto';

const SHAPE = /^[a-z][a-z0-9]{1,11}_(?:agt|svc|ses|pat|adm)_([0-9A-Za-z]{54})([0-9A-Za-z]{6})$/;
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BEARER = /^bearer +([^ ]+) *$/i;

/** The digits are in the order of ASCII, so texts of one length compare as their numbers. */
const FIRST_TOO_LARGE = base62(2n ** 320n, 54);

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * Return true if a text has the form of a token. Only the sidecar knows the prefix.
 *
 * A JavaScript `$` without the flag `m` matches at the very end alone, so no line break may follow.
 * @param {string} text
 */
export function isToken(text) {
  const match = SHAPE.exec(text);
  return match !== null && match[1] < FIRST_TOO_LARGE && checksum(match[1]) === match[2];
}

/**
 * Return the CRC-32 of a text of ASCII as six characters of base62.
 * @param {string} text
 */
export function checksum(text) {
  let crc = 0xffffffff;
  for (let i = 0; i < text.length; i += 1) {
    crc = CRC[(crc ^ text.charCodeAt(i)) & 0xff] ^ (crc >>> 8);
  }
  return base62(BigInt((crc ^ 0xffffffff) >>> 0), 6);
}

/**
 * Return the SHA-256 of the whole token.
 * @param {string} token
 */
export function digest(token) {
  return createHash('sha256').update(token).digest();
}

/**
 * Return the bearer token of a request: undefined without one, an empty text if there are two.
 *
 * `rawHeaders` has names and values in turn. `headers` of Node hides a second `Authorization`.
 * @param {readonly string[]} rawHeaders
 */
export function bearerToken(rawHeaders) {
  const values = rawHeaders.filter(
    (_, i) => i % 2 === 1 && rawHeaders[i - 1].toLowerCase() === 'authorization',
  );
  if (values.length > 1) return '';
  return BEARER.exec(values[0] ?? '')?.[1];
}

/**
 * @param {bigint} number
 * @param {number} width
 */
function base62(number, width) {
  let text = '';
  for (let rest = number; rest > 0n; rest /= 62n) text = DIGITS[Number(rest % 62n)] + text;
  return text.padStart(width, '0');
}
