export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Half of the values lie between these two. */
export function middleHalf(values: readonly number[]): [number, number] {
  return [quantile(values, 0.25), quantile(values, 0.75)];
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/** Each of the one over its neighbour in time of the other. */
export function ratios(one: readonly number[], other: readonly number[]): number[] {
  return one.map((value, index) => value / (other[index] ?? Number.NaN));
}

/** A server that has answered so many has V8's last word on what it runs: with less the compiler is measured, too. */
const warmRequests = 1_000;
const warmWithinMs = 60_000;

/** Runs the contenders in turn until they are warm, or for a minute; each once at least. */
export async function warmUp(
  contenders: Readonly<Record<string, () => Promise<unknown>>>,
  { requestsEach }: { readonly requestsEach: number },
): Promise<void> {
  const began = performance.now();
  for (let requests = 0; requests < warmRequests; requests += requestsEach) {
    for (const run of Object.values(contenders)) await run();
    if (performance.now() - began > warmWithinMs) break;
  }
}

/**
 * Runs the contenders side by side: A B, B A, A B, … so that whatever else the machine does meets them alike.
 * Ends before `budgetMs` is over, but with three rounds at least.
 */
export async function alternate<Name extends string, Sample>(
  contenders: Readonly<Record<Name, () => Promise<Sample>>>,
  { rounds, budgetMs }: { readonly rounds: number; readonly budgetMs: number },
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(contenders) as Name[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, Sample[]>;
  const began = performance.now();
  for (let round = 0; round < rounds; round++) {
    const spentMs = performance.now() - began;
    if (round >= 3 && spentMs + spentMs / round > budgetMs) break;
    for (const name of round % 2 === 0 ? names : names.toReversed()) samples[name].push(await contenders[name]());
  }
  return samples;
}
