/** One connection to the sidecar, on which requests are pipelined. */
import { connect } from 'node:net';
import {
  Frames,
  MalformedMessageError,
  decodeResponse,
  encodeCheck,
  encodeWatch,
} from './messages.mjs';

/** Bytes of requests that the sidecar has not read: beyond them, a request is not sent. */
const MAX_UNREAD_BYTES = 1_048_576;

/** In place of an answer: the connection ended first, or the answer came too late. */
export const CLOSED = Symbol('closed');
export const LATE = Symbol('late');

/**
 * @typedef {import('./messages.mjs').CheckRequest} CheckRequest
 * @typedef {import('./messages.mjs').Verdict} Verdict
 */

export class Connection {
  #socket;
  #frames = new Frames();
  /** @type {Map<number | bigint, (answer: Verdict | typeof CLOSED) => void>} */
  #waiting = new Map();
  #sent = 0;
  /** @type {((asOf: number | bigint) => void) | undefined} */
  #onChanged;
  /** @type {(open: boolean) => void} */
  #greeted = () => {};

  /** Resolves when the connection has ended. @type {Promise<void>} */
  ended;

  /**
   * Open a connection. Resolves to undefined if there is no valid greeting in time.
   * @param {string} path
   * @param {number} timeoutMs
   * @returns {Promise<Connection | undefined>}
   */
  static async open(path, timeoutMs) {
    const connection = new Connection(path);
    const open = await new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      connection.#greeted = (greeted) => {
        clearTimeout(timer);
        resolve(greeted);
      };
    });
    if (open) return connection;
    connection.close();
    return undefined;
  }

  /** @param {string} path */
  constructor(path) {
    this.#socket = connect({ path });
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', () => {}); // `close` follows
    this.ended = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#greeted(false);
        for (const answer of this.#waiting.values()) answer(CLOSED);
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Return true if the connection can send no more requests. */
  get closed() {
    return this.#socket.destroyed || !this.#socket.writable;
  }

  /** End the connection. Each request that waits for its answer gets `CLOSED`. */
  close() {
    this.#socket.destroy();
  }

  /**
   * Request a verdict. Requests that are sent in one turn of the event loop leave in one write.
   * @param {CheckRequest} request
   * @param {number} timeoutMs
   * @returns {Promise<Verdict | typeof CLOSED | typeof LATE>}
   */
  check(request, timeoutMs) {
    if (this.closed) return Promise.resolve(CLOSED);
    if (this.#socket.writableLength > MAX_UNREAD_BYTES) return Promise.resolve(LATE);
    return new Promise((resolve) => {
      const n = (this.#sent += 1);
      const timer = setTimeout(() => {
        this.#waiting.delete(n);
        resolve(LATE);
      }, timeoutMs);
      this.#waiting.set(n, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.#send(encodeCheck(n, request));
    });
  }

  /**
   * Call back at once and after each change of what the sidecar knows. One `watch` a connection.
   * @param {(asOf: number | bigint) => void} onChanged
   */
  watch(onChanged) {
    this.#onChanged = onChanged;
    this.#send(encodeWatch((this.#sent += 1)));
  }

  /** @param {Buffer} bytes */
  #send(bytes) {
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      process.nextTick(() => this.#socket.uncork());
    }
    this.#socket.write(bytes);
  }

  /** @param {Buffer} chunk */
  #receive(chunk) {
    try {
      for (const message of this.#frames.feed(chunk)) this.#handle(decodeResponse(message));
    } catch (error) {
      if (!(error instanceof MalformedMessageError)) throw error;
      this.close();
    }
  }

  /** @param {ReturnType<typeof decodeResponse>} message */
  #handle(message) {
    switch (message.type) {
      case 'greeting':
        this.#greeted(true);
        return;
      case 'changed':
        this.#onChanged?.(message.asOf);
        return;
      case 'verdict': {
        // No entry: the caller's deadline has passed, and its check was denied.
        const answer = this.#waiting.get(message.n);
        this.#waiting.delete(message.n);
        answer?.(message);
      }
    }
  }
}
