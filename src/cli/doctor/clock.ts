import type { Section } from './section.ts';

/** S3 refuses what is signed so far from its own time. */
const refusedFromMs = 15 * 60_000;
/** The header is in whole seconds, and an answer takes its time. */
const noticedFromMs = 5_000;

/** How far the clock that wrote an answer's `Date` is ahead of this one. */
export function clockAheadMs(date: string | null, askedAt: number, answeredAt: number): number | undefined {
  const told = Date.parse(date ?? '');
  return Number.isNaN(told) ? undefined : told + 500 - (askedAt + answeredAt) / 2;
}

export function judgeClock(section: Section, whose: string, aheadMs: number | undefined): void {
  if (aheadMs === undefined) {
    section.note('clock', `${whose} does not tell its time`);
    return;
  }
  const details = { aheadMs: Math.round(aheadMs) };
  const offMs = Math.abs(aheadMs);
  const off = `its clock is ${Math.round(offMs / 1000)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} this one`;
  if (offMs < noticedFromMs) section.ok('clock', 'its clock and this one agree', details);
  else if (offMs < refusedFromMs) section.warn('clock', `${off}: signed URLs end at another time than meant`, details);
  else section.fault('clock', 2, `${off}: signed requests are refused; set the clocks`, details);
}
