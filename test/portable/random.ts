/** The integer generator: the published known answers of Philox4x32-10, and streams that are the same everywhere. */
import { Random, philoxBlock, streams } from '../../src/tensor/random.ts';
import { equal, ok, sameEverywhere, test, throws } from './harness.ts';

test('random: known answers of Philox4x32-10', () => {
  // From kat_vectors of Random123, the generator's reference implementation.
  const cases: [number[], number[], number[]][] = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, expected] of cases) {
    const out = new Uint32Array(4);
    philoxBlock(new Uint32Array(counter), new Uint32Array(key), out);
    equal([...out], expected);
  }
});

test('random: a permutation holds every index once, and streams differ', async () => {
  const drawn = new Random(7, streams.permutation).permutation(1000);
  equal([...drawn].toSorted((a, b) => a - b), Array.from({ length: 1000 }, (_, i) => i));
  ok(drawn.some((value, i) => value !== i), 'the identity was drawn');
  ok(new Random(7, streams.batches).u32() !== new Random(7, streams.split).u32(), 'two streams begin alike');
  await sameEverywhere('permutation of 1000', drawn);
});

test('random: uniform numbers are the same everywhere', async () => {
  const random = new Random(2 ** 40 + 3, streams.initialise, 5);
  await sameEverywhere('1000 uniform numbers', Float64Array.from({ length: 1000 }, () => random.uniform()));
});

test('random: a seed that is no integer is refused', async () => {
  await throws(() => new Random(1.5, streams.split), 'invalid-argument');
  await throws(() => new Random(NaN, streams.split), 'invalid-argument');
});
