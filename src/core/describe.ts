/** Values of strangers in the words of an error. */

/** Longest text or name of a class that an error repeats. */
const DESCRIBED_CHARACTERS = 80;

/** Items of a list that an error names: all of a small network's, where ten thousand would be megabytes. */
const LISTED_ITEMS = 20;
/** Longest of them: two names and two shapes, as published ones are, take half of it. */
const LISTED_CHARACTERS = 300;

/** Names or lines for the words of an error, the first few of many: `a, b, … and 1234 more`. */
export function listed(items: readonly string[], separator = ', '): string {
  const shown = items.slice(0, LISTED_ITEMS).map((item) => shorten(item, LISTED_CHARACTERS)).join(separator);
  const more = items.length - LISTED_ITEMS;
  return more > 0 ? `${shown}${separator}… and ${more} more` : shown;
}

/** Short printable form of an untrusted value for the `got` of an error: never throws, never floods. */
export function describe(value: unknown): string {
  try {
    if (!Array.isArray(value)) return describeOne(value);
    // Lists within lists by their length alone: each level would multiply the text by eight.
    const head = value.slice(0, 8).map((item: unknown) => (Array.isArray(item) ? `a list of ${item.length}` : describeOne(item)));
    return `[${head.join(', ')}${value.length > 8 ? `, … ${value.length} in all` : ''}]`;
  } catch {
    return 'an object that cannot be looked at';
  }
}

function describeOne(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shorten(value));
  if (typeof value === 'bigint') return `${shorten(value.toString())}n`;
  if (ArrayBuffer.isView(value)) return `${className(value)} of ${value.byteLength} bytes`;
  // What a call gives that was not awaited is by far the likeliest.
  if (value instanceof Promise) return 'a Promise (is `await` missing?)';
  if (typeof value === 'object' && value !== null) return className(value);
  if (typeof value === 'function') return 'a function';
  return shorten(String(value));
}

/** By the prototype: a `constructor` of the object's own is data, of JSON for one. */
function className(value: object): string {
  const name: unknown = (Object.getPrototypeOf(value) as { readonly constructor?: { readonly name?: unknown } } | null)?.constructor?.name;
  return typeof name === 'string' && name !== '' ? shorten(name) : 'object';
}

function shorten(text: string, characters = DESCRIBED_CHARACTERS): string {
  return text.length > characters ? `${text.slice(0, characters - 3)}…` : text;
}
