/** Scopes, and patterns of them: `tools:*` covers every scope that begins with `tools:`. */

const SCOPE = /^[!#-[\]-~]{1,128}$/;
const PATTERN = /^(?:[^*]*[:/])?\*$/;

/**
 * Return true for a valid scope or pattern.
 * @param {unknown} text
 */
export function isScope(text) {
  if (typeof text !== 'string' || !SCOPE.test(text)) return false;
  return !text.includes('*') || PATTERN.test(text);
}

/**
 * Return true if a pattern contains a scope, or all of another pattern.
 * @param {string} pattern
 * @param {string} scope
 */
export function covers(pattern, scope) {
  return pattern.endsWith('*') ? scope.startsWith(pattern.slice(0, -1)) : scope === pattern;
}

/**
 * Return the granted patterns of which no part was removed.
 * @param {readonly string[]} granted
 * @param {readonly string[]} removed
 */
export function remaining(granted, removed) {
  return granted.filter(
    (each) => !removed.some((pattern) => covers(pattern, each) || covers(each, pattern)),
  );
}
