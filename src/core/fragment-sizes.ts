/** The largest fragment: what is held for it until it is stored. */
export const largestFragmentBytes = 8 * 1024 * 1024;

/** With the budget used up, so much of a body is collected on top of it. */
export const smallestFragmentBytes = 64 * 1024;

/** What a line gets through in one go that broke off after so many bytes. */
export function carefulFragmentBytes(receivedBytes: number): number {
  const halved = 2 ** Math.floor(Math.log2(Math.max(1, receivedBytes / 2)));
  return Math.min(largestFragmentBytes, Math.max(smallestFragmentBytes, halved));
}
