/** JSON for files that people look into. */

/**
 * `value` with two spaces an indentation and a newline at the end. A list of numbers and words takes one line: permutations have
 * thousands.
 */
export function indentedJson(value: unknown): string {
  // First through JSON, which leaves out what it cannot hold.
  return `${text(JSON.parse(JSON.stringify(value)), '\n')}\n`;
}

/** @param newline with the indentation of what stands around. */
function text(value: unknown, newline: string): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = `${newline}  `;
  if (Array.isArray(value)) {
    const flat = value.every((item) => typeof item !== 'object' || item === null);
    if (flat) return `[${value.map((item) => JSON.stringify(item)).join(', ')}]`;
    return `[${inner}${value.map((item) => text(item, inner)).join(`,${inner}`)}${newline}]`;
  }
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}: ${text(member, inner)}`);
  return members.length === 0 ? '{}' : `{${inner}${members.join(`,${inner}`)}${newline}}`;
}
