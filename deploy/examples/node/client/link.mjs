/** A connection that is opened when it is needed, and again after it ended. */
import { Connection } from './connection.mjs';

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 1_000;

export class Link {
  #path;
  #timeoutMs;
  #onOpen;
  /** @type {Connection | undefined} */
  #connection;
  /** @type {Promise<Connection | undefined> | undefined} */
  #opening;
  #pauseMs = 0;
  #notBefore = 0;
  #closed = false;

  /**
   * @param {string} path
   * @param {number} timeoutMs how long one attempt to connect may take
   * @param {(connection: Connection) => void} [onOpen] is called with each new connection
   */
  constructor(path, timeoutMs, onOpen = () => {}) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
    this.#onOpen = onOpen;
  }

  /** The open connection, or undefined. */
  get current() {
    return this.#connection?.closed === false ? this.#connection : undefined;
  }

  /**
   * Return the connection, or undefined if there is none and it is too early for another attempt.
   *
   * After a failed attempt there is a pause, from 20 ms to a second, so that a sidecar that starts
   * is not flooded. All callers share one attempt.
   * @returns {Promise<Connection | undefined>}
   */
  async connection() {
    if (this.current) return this.current;
    if (this.#closed || performance.now() < this.#notBefore) return undefined;
    this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
    return this.#opening;
  }

  async #open() {
    const connection = await Connection.open(this.#path, this.#timeoutMs);
    if (connection === undefined) {
      this.#pauseMs = Math.min(MAX_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * this.#pauseMs));
      this.#notBefore = performance.now() + this.#pauseMs * (0.5 + Math.random() / 2);
      return undefined;
    }
    if (this.#closed) {
      connection.close();
      return undefined;
    }
    this.#pauseMs = 0;
    this.#connection = connection;
    this.#onOpen(connection);
    return connection;
  }

  /** End the connection for good. */
  close() {
    this.#closed = true;
    this.#connection?.close();
  }
}
