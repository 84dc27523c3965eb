/**
 * Holds: work that ends when a check of its token would be denied.
 *
 * The rules:
 *
 * 1. A hold begins with a check that is sent after the first `changed` of a `watch`. So no change
 *    is missed between the two.
 * 2. After each `changed`, every hold is checked again. Many holds are checked now and then during a
 *    flood of changes, so that the sidecar has time for other checks. If that check is not answered in time, the
 *    hold ends: the change may have been its revocation.
 * 3. A hold ends with the lease of its last check, if the sidecar is silent. Half of the lease
 *    before, it is checked again.
 * 4. When the token's own times need another check, it is made at once, as after a `changed`.
 * 5. If the `watch` ends, each hold must be confirmed within the deadline of a check, by a check that
 *    is sent under another `watch`. A sidecar that stops gives up its lease at once.
 * 6. The same holds if an answer comes from another instance of the sidecar: the lease of the one
 *    before may have been given up.
 */
import { RESOLUTION_MS, bootMs } from './clock.mjs';
import { Link } from './link.mjs';

const MAX_TICK_MS = 250; // timers stand still while the machine sleeps, and `bootMs` does not
const MIN_TICK_MS = 5;
const RETRY_MS = 50;
const SWEEP_MS_PER_HOLD = 0.4; // some four times as long as a check takes
const MAX_SWEEP_MS = 1_000;
const MAX_CHECKS = 256; // under way at once, of holds: the others wait for their turn

/**
 * @typedef {import('./messages.mjs').CheckRequest} CheckRequest
 * @typedef {import('../rescind.mjs').Fresh} Fresh
 * @typedef {import('../rescind.mjs').Denied} Denied
 *
 * @typedef {object} Hold
 * @property {true} allowed
 * @property {import('./record.mjs').Record} record as it was when the hold began
 * @property {AbortSignal} signal aborts when a check would be denied; its reason is a DeniedError
 * @property {() => void} release ends the hold: the signal no longer aborts
 */

/** The reason with which the signal of a hold aborts. */
export class DeniedError extends Error {
  name = 'DeniedError';

  /** @param {string} reason why a check would be denied */
  constructor(reason) {
    super(`the token is no longer accepted: ${reason}`);
    this.reason = reason;
  }
}

/** One hold, with the times of its last check (of `bootMs`). */
class HeldToken {
  controller = new AbortController();
  leaseEndMs = 0;
  tokenEndMs = 0;
  checkAtMs = 0;
  confirmByMs = Infinity; // finite after the watch ended
  isChecking = false;
  mustCheck = false;

  /** @param {CheckRequest} request */
  constructor(request) {
    this.request = request;
  }

  /** The time at which something must be done. */
  get dueMs() {
    return this.isChecking ? this.endMs : Math.min(this.checkAtMs, this.endMs);
  }

  /** The time at which the work must end, if the sidecar is silent. */
  get endMs() {
    return Math.min(this.leaseEndMs, this.confirmByMs);
  }

  /**
   * Note the times of an answer. They are counted from before its request was sent.
   * @param {Fresh} answer
   * @param {number} sentMs
   */
  confirm({ freshForMs, tokenForMs }, sentMs) {
    this.leaseEndMs = sentMs + freshForMs - RESOLUTION_MS;
    this.tokenEndMs = tokenForMs === null ? Infinity : sentMs + tokenForMs;
    this.checkAtMs = Math.min(sentMs + freshForMs / 2, this.tokenEndMs);
  }
}

/** At most so many at once; the others wait in their order. */
class Turns {
  #free;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {number} most */
  constructor(most) {
    this.#free = most;
  }

  /** Wait for a turn. @returns {Promise<void>} */
  take() {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  free() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}

export class Holds {
  #timeoutMs;
  #check;
  #watch;
  /** @type {Set<HeldToken>} */
  #held = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #dueMs = Infinity;
  /** @type {Promise<boolean> | undefined} */
  #watching;
  #changes = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sweepTimer;
  #nextSweep = 0;
  #instance = '';
  #turns = new Turns(MAX_CHECKS);
  #closed = false;

  /**
   * @param {string} path
   * @param {number} timeoutMs
   * @param {(request: CheckRequest, timeoutMs: number) => Promise<Fresh | Denied>} check
   */
  constructor(path, timeoutMs, check) {
    this.#timeoutMs = timeoutMs;
    this.#check = check;
    this.#watch = new Link(path, timeoutMs, (connection) => {
      this.#watching = new Promise((resolve) => {
        connection.watch(() => {
          resolve(true);
          this.#changed();
        });
        void connection.ended.then(() => {
          resolve(false);
          if (this.#watch.current === undefined) this.#watching = undefined;
          void this.#restore();
        });
      });
    });
  }

  /**
   * Check a token and hold it.
   * @param {CheckRequest} request
   * @param {number} timeoutMs
   * @returns {Promise<Hold | Denied>}
   */
  async begin(request, timeoutMs) {
    const deadline = performance.now() + timeoutMs;
    if (!(await this.#watches(timeoutMs))) return { allowed: false, reason: 'unavailable' };
    const [changes, watching] = [this.#changes, this.#watching];
    const sentMs = bootMs();
    const answer = await this.#check(request, deadline - performance.now());
    if (!answer.allowed) return answer;
    this.#noteInstance(answer.instance);
    if (this.#closed) return { allowed: false, reason: 'unavailable' };
    const held = new HeldToken(request);
    held.confirm(answer, sentMs);
    // In grace a check is allowed without a lease, and nothing says until when.
    if (held.leaseEndMs <= bootMs()) return { allowed: false, reason: 'no_lease' };
    this.#held.add(held);
    if (watching !== this.#watching) void this.#restore();
    else if (changes !== this.#changes) void this.#confirm(held);
    this.#wind(held);
    const { signal } = held.controller;
    return { allowed: true, record: answer.record, signal, release: () => this.#release(held) };
  }

  /** End all holds. */
  close() {
    this.#closed = true;
    for (const held of this.#held) this.#end(held, 'unavailable');
    clearTimeout(this.#sweepTimer);
    clearTimeout(this.#timer);
    this.#watch.close();
  }

  /**
   * Return true if changes are seen: a `watch` was answered.
   * @param {number} timeoutMs
   */
  async #watches(timeoutMs) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const watching = this.#watch.connection().then((open) => open && this.#watching);
    const watches = await Promise.race([watching, late]);
    clearTimeout(timer);
    return Boolean(watches);
  }

  #changed() {
    this.#changes += 1;
    if (this.#sweepTimer !== undefined) return; // the next sweep is for this change too
    const pauseMs = this.#nextSweep - performance.now();
    if (pauseMs <= 0) this.#sweep();
    else this.#sweepTimer = setTimeout(() => this.#sweep(), pauseMs);
  }

  #sweep() {
    this.#sweepTimer = undefined;
    const pauseMs = Math.min(MAX_SWEEP_MS, SWEEP_MS_PER_HOLD * this.#held.size);
    this.#nextSweep = performance.now() + pauseMs;
    for (const held of this.#held) void this.#confirm(held);
  }

  /** Give each hold the time of one check to be confirmed. */
  #doubt() {
    const endMs = bootMs() + this.#timeoutMs;
    for (const held of this.#held) {
      held.confirmByMs = Math.min(held.confirmByMs, endMs);
      this.#wind(held);
    }
  }

  /** @param {string} instance of an answer */
  #noteInstance(instance) {
    const another = this.#instance !== '' && this.#instance !== instance;
    this.#instance = instance;
    if (!another) return;
    this.#doubt();
    this.#changed();
  }

  /** Watch again, for as long as there are holds. */
  async #restore() {
    this.#doubt();
    while (this.#held.size > 0) {
      if (await this.#watches(this.#timeoutMs)) {
        for (const held of this.#held) if (held.confirmByMs < Infinity) void this.#confirm(held);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /**
   * Check a hold, and again if something changes meanwhile. A hold whose check is not answered
   * in time ends.
   * @param {HeldToken} held
   */
  async #confirm(held) {
    held.mustCheck = true;
    await this.#recheck(held);
  }

  /** @param {HeldToken} held */
  async #recheck(held) {
    if (held.isChecking) return;
    held.isChecking = true;
    do {
      await this.#turns.take();
      const mustCheck = held.mustCheck;
      held.mustCheck = false;
      await this.#checkOnce(held, mustCheck);
      this.#turns.free();
    } while (held.mustCheck && this.#held.has(held));
    held.isChecking = false;
    this.#wind(held);
  }

  /**
   * @param {HeldToken} held
   * @param {boolean} mustCheck the hold ends if there is no answer
   */
  async #checkOnce(held, mustCheck) {
    const watched = this.#watching;
    const sentMs = bootMs();
    const answer = await this.#check(held.request, this.#timeoutMs);
    const starting = !answer.allowed && held.confirmByMs < Infinity && answer.reason === 'no_lease';
    if (answer.allowed) {
      this.#noteInstance(answer.instance);
      held.confirm(answer, sentMs);
      if (watched && watched === this.#watching) held.confirmByMs = Infinity;
    } else if (starting || (answer.reason === 'unavailable' && !mustCheck)) {
      held.checkAtMs = bootMs() + RETRY_MS; // until `endMs` the work may go on
    } else {
      this.#end(held, answer.reason);
    }
  }

  /**
   * Set the timer earlier, if a hold is due before all others.
   * @param {HeldToken} held
   */
  #wind(held) {
    if (!this.#held.has(held) || held.dueMs >= this.#dueMs) return;
    this.#dueMs = held.dueMs;
    clearTimeout(this.#timer);
    const pauseMs = Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, this.#dueMs - bootMs()));
    this.#timer = setTimeout(() => this.#tick(), pauseMs);
  }

  #tick() {
    const nowMs = bootMs();
    this.#dueMs = Infinity;
    let first;
    for (const held of this.#held) {
      if (nowMs >= held.endMs) {
        this.#end(held, nowMs >= held.leaseEndMs ? 'no_lease' : 'unavailable');
        continue;
      }
      if (!held.isChecking && nowMs >= held.tokenEndMs) void this.#confirm(held);
      else if (!held.isChecking && nowMs >= held.checkAtMs) void this.#recheck(held);
      if (first === undefined || held.dueMs < first.dueMs) first = held;
    }
    if (first) this.#wind(first);
  }

  /**
   * @param {HeldToken} held
   * @param {string} reason
   */
  #end(held, reason) {
    if (this.#held.delete(held)) held.controller.abort(new DeniedError(reason));
  }

  /** @param {HeldToken} held */
  #release(held) {
    this.#held.delete(held);
  }
}
