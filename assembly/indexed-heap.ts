// A binary heap of (key, id) with decrease-key: keys f64, ids below a fixed count, each id at most once.
// Ordered by key alone; equal keys leave in an order that depends only on the sequence of calls.

@unmanaged
export class Heap {
  keys: usize; // f64 [count]
  ids: usize; // i32 [count]
  places: usize; // i32 [all ids]: place in the heap, −1: not in it
  size: i32;
}

function put(heap: Heap, place: i32, key: f64, id: i32): void {
  store<f64>(heap.keys + (<usize>place << 3), key);
  store<i32>(heap.ids + (<usize>place << 2), id);
  store<i32>(heap.places + (<usize>id << 2), place);
}

/** Inserts `id`, or moves it up when it is there already; its key must not grow. */
export function heapLower(heap: Heap, id: i32, key: f64): void {
  let place = load<i32>(heap.places + (<usize>id << 2));
  if (place < 0) {
    place = heap.size;
    heap.size = place + 1;
  }
  while (place > 0) {
    const parent = (place - 1) >> 1;
    const parentKey = load<f64>(heap.keys + (<usize>parent << 3));
    if (!(key < parentKey)) break;
    put(heap, place, parentKey, load<i32>(heap.ids + (<usize>parent << 2)));
    place = parent;
  }
  put(heap, place, key, id);
}

/** Smallest key; the heap must not be empty. */
export function heapLeastKey(heap: Heap): f64 {
  return load<f64>(heap.keys);
}

/** Removes the entry with the smallest key and answers its id. */
export function heapPop(heap: Heap): i32 {
  const result = load<i32>(heap.ids);
  store<i32>(heap.places + (<usize>result << 2), -1);
  const size = heap.size - 1;
  heap.size = size;
  if (size === 0) return result;
  const key = load<f64>(heap.keys + (<usize>size << 3));
  const id = load<i32>(heap.ids + (<usize>size << 2));
  let place = 0;
  for (;;) {
    let child = 2 * place + 1;
    if (child >= size) break;
    let childKey = load<f64>(heap.keys + (<usize>child << 3));
    if (child + 1 < size) {
      const other = load<f64>(heap.keys + (<usize>child << 3), 8);
      if (other < childKey) {
        child++;
        childKey = other;
      }
    }
    if (!(childKey < key)) break;
    put(heap, place, childKey, load<i32>(heap.ids + (<usize>child << 2)));
    place = child;
  }
  put(heap, place, key, id);
  return result;
}

export function heapClear(heap: Heap): void {
  for (let k = 0; k < heap.size; k++) {
    store<i32>(heap.places + (<usize>load<i32>(heap.ids + (<usize>k << 2)) << 2), -1);
  }
  heap.size = 0;
}
