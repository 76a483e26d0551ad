/**
 * The order in which a gradient's parts (micro-batches, or whole batches where there are none) are added: the blocks of consecutive ones
 * in either half, then their halves. It depends on the number of parts alone, so that any number of workers, each of which adds up whole
 * blocks, gives the bytes of one thread; two of them have a half each, and nothing to wait for but one sum.
 */

/** Up to here every part is a block, so that as many workers have something to do. */
const MOST_SINGLE = 4;
/** A worker reads out and sends one gradient a block, 8 ms of Conv8's 480. Longer blocks would unbalance three workers and more. */
const BLOCK = 2;

/** Consecutive parts that are added up first. */
export type Block<Part> = readonly Part[];

/** `parts` in order: the blocks of the first half and, of two and more, those of the second. */
export function halvesOf<Part>(parts: readonly Part[]): Block<Part>[][] {
  const length = parts.length > MOST_SINGLE ? BLOCK : 1;
  const middle = Math.ceil(parts.length / 2);
  return [parts.slice(0, middle), parts.slice(middle)].filter((half) => half.length > 0).map((half) => {
    const blocks: Block<Part>[] = [];
    for (let first = 0; first < half.length; first += length) blocks.push(half.slice(first, first + length));
    return blocks;
  });
}
