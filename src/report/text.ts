/** Widths and numbers as people read them in a terminal or a figure: plain values in, short strings out. */

/** Zero-width marks: combining accents, variation selectors, joiners. */
const combining = /\p{Mark}|\u200b|\u200c|\u200d|\ufeff/u;

/** Code points that terminals draw two cells wide: East Asian wide and full-width forms, and emoji. */
function isWide(point: number): boolean {
  return (
    (point >= 0x1100 && point <= 0x115f) || // Hangul Jamo
    (point >= 0x2e80 && point <= 0xa4cf) || // CJK radicals … Yi
    (point >= 0xac00 && point <= 0xd7a3) || // Hangul syllables
    (point >= 0xf900 && point <= 0xfaff) || // CJK compatibility ideographs
    (point >= 0xfe30 && point <= 0xfe6f) || // CJK compatibility forms
    (point >= 0xff00 && point <= 0xff60) || // full-width forms
    (point >= 0xffe0 && point <= 0xffe6) ||
    (point >= 0x1f300 && point <= 0x1f64f) || // pictographs, emoticons
    (point >= 0x1f900 && point <= 0x1f9ff) ||
    (point >= 0x20000 && point <= 0x3fffd) // CJK extensions
  );
}

/** Terminal cells that `text` takes. It must hold no escape sequences: style after aligning. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (combining.test(character)) continue;
    width += isWide(character.codePointAt(0) as number) ? 2 : 1;
  }
  return width;
}

/** `text` cut to at most `width` cells, the last one `…` where something was cut. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  if (width <= 0) return '';
  let kept = '';
  let used = 1;
  for (const character of text) {
    const cells = displayWidth(character);
    if (used + cells > width) break;
    kept += character;
    used += cells;
  }
  return `${kept}…`;
}

/** Words in lines of at most `width` cells; a longer word has a line of its own. */
export function wrapWords(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && displayWidth(line) + 1 + displayWidth(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines;
}

/** An untrusted string made fit for one line of a terminal: control characters (escape sequences among them) become `�`. */
export function printable(text: string): string {
  return text.replace(/[\p{Control}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

/** A share as a percentage: 0.8342 → `83.4`. */
export function formatPercent(share: number, digits = 1): string {
  return (share * 100).toFixed(digits);
}

/** 1536 → `1.5 KiB`. Powers of 1024. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return `${value} ${value === 1 ? 'byte' : 'bytes'}`;
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** 1234567 → `1,234,567`. Without `toLocaleString`, whose answer depends on the machine. */
export function formatInteger(value: number): string {
  const [sign, digits] = value < 0 ? ['-', String(-value)] : ['', String(value)];
  return sign + digits.replace(/\B(?=(\d{3})+$)/g, ',');
}

/** 1 → `1 gradient`, 1234 → `1,234 gradients`. */
export function formatCount(value: number, noun: string): string {
  return `${formatInteger(value)} ${noun}${value === 1 ? '' : 's'}`;
}

/** 1.26e9 → `1.26 G`. Powers of 1000. */
export function formatQuantity(value: number): string {
  const units = ['', ' k', ' M', ' G', ' T', ' P'];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return unit === 0 ? String(value) : `${scaled >= 100 ? scaled.toFixed(0) : scaled.toFixed(scaled >= 10 ? 1 : 2)}${units[unit]}`;
}

/** Milliseconds as people say them: `0.8 ms`, `850 ms`, `12.3 s`, `2 min 05 s`, `3 h 20 min`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 99.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`;
}
