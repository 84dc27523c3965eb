/** The clock of holds: it goes on while the machine sleeps, as the lease does (CLOCK_BOOTTIME). */
import { uptime } from 'node:os';

/** `/proc/uptime` has hundredths of a second, rounded down. */
export const RESOLUTION_MS = 10;

/** Return the milliseconds since the machine started. */
export function bootMs() {
  return uptime() * 1_000;
}
