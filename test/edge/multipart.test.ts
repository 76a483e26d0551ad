/** multipart/form-data in place: against what the runtime writes, and by hand where clients differ or lie. */
import { describe, expect, it } from 'vitest';
import { multipartParts } from '../../src/edge/multipart.ts';
import { generator } from '../bundle/generator.ts';
import { expectTyped, utf8 } from '../bundle/support.ts';

const parse = (body: string | Uint8Array, type = 'multipart/form-data; boundary=b') =>
  [...multipartParts(typeof body === 'string' ? Uint8Array.from(utf8(body)) : Uint8Array.from(body), type)].map(([name, content]) => [
    name,
    new TextDecoder('latin1').decode(content),
  ]);

describe('multipart', () => {
  it('reads what FormData writes, whatever the bytes', async () => {
    const next = generator(3);
    for (let round = 0; round < 50; round++) {
      const form = new FormData();
      // Bytes of which delimiters are made, so that they nearly occur.
      const contents = Array.from({ length: 1 + (next() % 4) }, () =>
        Uint8Array.from({ length: next() % 300 }, () => '\r\n--=F\0'.charCodeAt(next() % 8)),
      );
      for (const [i, content] of contents.entries()) form.append(`part${i}`, new Blob([content]), `file "${i}".bin`);
      form.append('text', 'grüße\r\n');
      const written = new Response(form);
      const parts = [...multipartParts(new Uint8Array(await written.clone().arrayBuffer()), written.headers.get('content-type') as string)];
      expect(parts.map(([name]) => name)).toEqual([...contents.keys()].map((i) => `part${i}`).concat('text'));
      for (const [i, content] of contents.entries()) expect(Buffer.compare(parts[i]?.[1] as Uint8Array, content)).toBe(0);
      expect(new TextDecoder().decode(parts.at(-1)?.[1])).toBe('grüße\r\n');
    }
  });

  it.each<[string, string, string | undefined, [string, string][]]>([
    ['no parts', '--b--\r\n', undefined, []],
    [
      'a preamble, blanks behind a boundary, an epilogue',
      'hello\r\n--b \t\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\nbye',
      undefined,
      [['a', 'x']],
    ],
    ['an empty part', '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n--b--', undefined, [['a', '']]],
    [
      'names without quotes, in lower case, behind a file name',
      '--b\r\nX: y\r\ncontent-disposition: form-data; filename="name=q"; name=a\r\n\r\nx\r\n--b--',
      undefined,
      [['a', 'x']],
    ],
    [
      'a file name that looks like a parameter',
      '--b\r\nContent-Disposition: form-data; filename="x; name=y"; Name="a"\r\n\r\nx\r\n--b--',
      undefined,
      [['a', 'x']],
    ],
    [
      'a boundary in quotes',
      '--a b\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n--a b--',
      'multipart/form-data; charset=utf-8; boundary="a b"',
      [['n', 'x']],
    ],
  ])('%s', (_name, body, type, parts) => {
    expect(parse(body, type)).toEqual(parts);
  });

  it.each<[string, string, string | undefined]>([
    ['no boundary stated', '--b--', 'multipart/form-data'],
    ['another boundary', '--c\r\n', undefined],
    ['nothing', '', undefined],
    ['no end', '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx', undefined],
    ['no end of the headers', '--b\r\nContent-Disposition: form-data; name="a"', undefined],
    ['no name', '--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--b--', undefined],
    ['no disposition', '--b\r\nContent-Type: text/plain; name="a"\r\n\r\nx\r\n--b--', undefined],
    ['a boundary that goes on', '--bc\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--', undefined],
    ['headers without end', `--b\r\nContent-Disposition: form-data; name="a"\r\nX: ${'y'.repeat(20_000)}\r\n\r\nx\r\n--b--`, undefined],
  ])('refuses %s', async (_name, body, type) => {
    await expectTyped(() => parse(body, type), 'malformed-file');
  });
});
