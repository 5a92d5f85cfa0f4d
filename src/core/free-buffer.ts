/**
 * Gives a buffer's memory back at once. Left to the garbage collector, every 64 MiB that pass by cause a full
 * collection, and these cost as much as all the rest of relaying them.
 * @param buffer one that nobody else holds; it is empty afterwards. Not one that a failed call was given: its socket may
 *   still have it to write
 */
export function freeBuffer({ buffer: memory, length }: Buffer): void {
  // A slice of something larger, such as Node's pool of small buffers, stays.
  if (memory instanceof ArrayBuffer && memory.byteLength === length) memory.transfer(0);
}
