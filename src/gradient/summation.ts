/**
 * The order in which a gradient's parts (micro-batches, or whole batches where there are none) are added: in blocks of consecutive
 * ones, then block by block. It depends on the number of parts alone, so that any number of workers, each of which adds up
 * whole blocks, gives the bytes of one thread.
 */

/** Up to here every part is a block, so that as many workers have something to do. */
const MOST_SINGLE = 4;
/** A worker reads out and sends one gradient a block, 8 ms of Conv8's 480. Longer blocks would unbalance three workers and more. */
const BLOCK = 2;

/** `parts` in order, cut into blocks. */
export function blocksOf<Part>(parts: readonly Part[]): Part[][] {
  const length = parts.length > MOST_SINGLE ? BLOCK : 1;
  const blocks: Part[][] = [];
  for (let first = 0; first < parts.length; first += length) blocks.push(parts.slice(first, first + length));
  return blocks;
}
