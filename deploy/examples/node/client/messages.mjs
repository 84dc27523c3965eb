/**
 * The messages of the socket: a frame is a length and a msgpack array (docs/protocol.md).
 *
 * Nothing received is trusted: a message of another form raises `MalformedMessageError`.
 */
import { Decoder, encode } from '@msgpack/msgpack';

export const MAX_FRAME_BYTES = 1_048_576;

const PROTOCOL = 1;
const MAX_ITEMS = 65_535;
const LENGTH_BYTES = 4;
const ID_BYTES = 16;
const TAG = { greeting: 1, check: 4, verdict: 8, watch: 9, changed: 10 };

/** A message that is not of the protocol, or of a version that this client does not know. */
export class MalformedMessageError extends Error {
  name = 'MalformedMessageError';
}

/**
 * @typedef {object} Greeting
 * @property {'greeting'} type
 * @property {string} service the default audience of a check
 *
 * @typedef {object} Verdict
 * @property {'verdict'} type
 * @property {number | bigint} n
 * @property {string} instance whose lease it is, in hex
 * @property {string | null} reason null if the token is allowed
 * @property {Uint8Array | null} record null if the token is denied
 * @property {number | bigint} asOf 0 if the token is denied
 * @property {number} freshForMs the rest of the lease, in milliseconds
 * @property {number | null} tokenForMs null from an older sidecar, and if the token is denied
 *
 * @typedef {{ type: 'changed', n: number | bigint, asOf: number | bigint }} Changed
 */

/** Fields of a message, read one after the other, each with its expected type. */
export class Fields {
  #values;
  #next = 0;

  /** @param {unknown} values */
  constructor(values) {
    if (!Array.isArray(values)) throw new MalformedMessageError('a message is not an array');
    this.#values = values;
  }

  /** Return true if another field follows: a sender may leave out the last ones. */
  get more() {
    return this.#next < this.#values.length;
  }

  #read() {
    if (!this.more) throw new MalformedMessageError(`field ${this.#next} is missing`);
    this.#next += 1;
    return this.#values[this.#next - 1];
  }

  /** @returns {MalformedMessageError} */
  #wrong() {
    return new MalformedMessageError(`field ${this.#next - 1} is not of its type`);
  }

  /** Return a number from 0 to 2⁶⁴ - 1: a bigint only if a double cannot hold it exactly. */
  number() {
    const value = this.#read();
    if (typeof value === 'bigint' && value >= 0n) {
      return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
    }
    if (!Number.isSafeInteger(value) || value < 0) throw this.#wrong();
    return /** @type {number} */ (value);
  }

  /** Return a text. */
  text() {
    const value = this.#read();
    if (typeof value !== 'string') throw this.#wrong();
    return value;
  }

  /**
   * Return bytes; `length` demands a number of them.
   * @param {number} [length]
   */
  bytes(length) {
    const value = this.#read();
    if (!(value instanceof Uint8Array)) throw this.#wrong();
    if (length !== undefined && value.length !== length) throw this.#wrong();
    return value;
  }

  /** Return a list of anything. @returns {unknown[]} */
  list() {
    const value = this.#read();
    if (!Array.isArray(value)) throw this.#wrong();
    return value;
  }

  /** Return a list of texts. @returns {string[]} */
  texts() {
    const value = this.list();
    if (!value.every((each) => typeof each === 'string')) throw this.#wrong();
    return /** @type {string[]} */ (value);
  }

  /** Return a list of pairs of texts. @returns {[string, string][]} */
  pairs() {
    return this.list().map((each) => {
      const pair = new Fields(each);
      return [pair.text(), pair.text()];
    });
  }

  /**
   * Return null, or what `read` returns for the next field.
   * @template T
   * @param {() => T} read
   * @returns {T | null}
   */
  optional(read) {
    if (!this.more || this.#values[this.#next] !== null) return read();
    this.#next += 1;
    return null;
  }
}

/**
 * Split a stream of bytes into messages, however it arrives.
 */
export class Frames {
  /** @type {Buffer} */
  #rest = Buffer.alloc(0);

  /**
   * Yield each complete message. Throws MalformedMessageError for one that is too long.
   * @param {Buffer} chunk
   */
  *feed(chunk) {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= LENGTH_BYTES) {
      const length = this.#rest.readUInt32BE(0);
      if (length > MAX_FRAME_BYTES) throw new MalformedMessageError('a frame is too long');
      const end = LENGTH_BYTES + length;
      if (this.#rest.length < end) return;
      const message = this.#rest.subarray(LENGTH_BYTES, end);
      this.#rest = this.#rest.subarray(end);
      yield message;
    }
  }
}

const decoder = new Decoder({
  useBigInt64: true, // a number may be larger than a double holds exactly
  maxArrayLength: MAX_ITEMS,
  maxMapLength: 0,
  maxExtLength: 0,
  maxStrLength: MAX_FRAME_BYTES,
  maxBinLength: MAX_FRAME_BYTES,
});

/**
 * Decode a message into its fields. Throws MalformedMessageError.
 * @param {Uint8Array} message
 */
export function fieldsOf(message) {
  let values;
  try {
    values = decoder.decode(message);
  } catch {
    throw new MalformedMessageError('it is not msgpack, or over its limits');
  }
  return new Fields(values);
}

/**
 * Decode a message of the sidecar. Throws MalformedMessageError.
 * @param {Uint8Array} message
 * @returns {Greeting | Verdict | Changed}
 */
export function decodeResponse(message) {
  const fields = fieldsOf(message);
  const tag = fields.number();
  switch (tag) {
    case TAG.greeting:
      return decodeGreeting(fields);
    case TAG.verdict:
      return decodeVerdict(fields);
    case TAG.changed:
      return { type: 'changed', n: fields.number(), asOf: fields.number() };
    default:
      throw new MalformedMessageError(`the tag ${tag} is not known`);
  }
}

/**
 * @param {Fields} fields
 * @returns {Greeting}
 */
function decodeGreeting(fields) {
  const protocol = fields.number();
  if (protocol !== PROTOCOL) {
    throw new MalformedMessageError(
      `the sidecar has protocol ${protocol}, and this client ${PROTOCOL}: upgrade the older one`,
    );
  }
  const service = fields.text();
  fields.bytes(ID_BYTES); // the instance
  fields.bytes(ID_BYTES); // the boot id
  fields.text(); // the posture
  return { type: 'greeting', service };
}

/**
 * @param {Fields} fields
 * @returns {Verdict}
 */
function decodeVerdict(fields) {
  const n = fields.number();
  const instance = Buffer.from(fields.bytes(ID_BYTES)).toString('hex');
  const reason = fields.optional(() => fields.text());
  const record = fields.optional(() => fields.bytes());
  const asOf = fields.number();
  const freshForMs = Number(fields.number());
  const tokenForMs = fields.more ? fields.optional(() => Number(fields.number())) : null;
  if ((reason === null) === (record === null)) {
    throw new MalformedMessageError('a verdict has neither a reason nor a record, or both');
  }
  return { type: 'verdict', n, instance, reason, record, asOf, freshForMs, tokenForMs };
}

/**
 * @typedef {object} CheckRequest
 * @property {string} token
 * @property {readonly string[]} require the scopes that the call requires
 * @property {string | null} audience null for the sidecar's service
 * @property {number | bigint} minSeq
 * @property {string | null} address null if it is not known
 */

/**
 * Encode a check, framed.
 * @param {number} n
 * @param {CheckRequest} request
 */
export function encodeCheck(n, { token, require, audience, minSeq, address }) {
  const appended = address === null ? [] : [address];
  return frame([TAG.check, number(n), token, require, audience, number(minSeq), ...appended]);
}

/**
 * Encode a watch, framed.
 * @param {number} n
 */
export function encodeWatch(n) {
  return frame([TAG.watch, number(n)]);
}

/**
 * Return a number as the encoder needs it: it writes a double for a number above 2³².
 * @param {number | bigint} value
 */
function number(value) {
  return value < 2 ** 32 ? Number(value) : BigInt(value);
}

/** @param {unknown[]} message */
function frame(message) {
  const body = encode(message, { useBigInt64: true });
  const framed = Buffer.allocUnsafe(LENGTH_BYTES + body.length);
  framed.writeUInt32BE(body.length, 0);
  framed.set(body, LENGTH_BYTES);
  return framed;
}
