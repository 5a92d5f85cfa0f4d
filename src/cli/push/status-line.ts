import stringWidth from 'string-width';
import type { UploadProgress } from '../../sdk/node/index.ts';
import { counted, formatBytes, formatDuration, formatShare } from '../units.ts';

export interface LineStyle {
  /** Columns that there are; what does not fit is left out, never wrapped. */
  readonly columns: number;
  readonly bar: boolean;
  readonly color: boolean;
  readonly unicode: boolean;
  /** What the last retry was for. */
  readonly trouble?: string | undefined;
}

const fullBarColumns = 20;
const leastBarColumns = 6;
const leastNameColumns = 8;

/** `backup.tar.zst ━━━━──── 42.1% 4.2/10.0 GiB 187.0 MiB/s ETA 0:31 parts 54/128 · 8 in flight · 1 retry` */
export function statusLine(name: string, progress: UploadProgress, style: LineStyle): string {
  const { share, rest, dotted } = words(progress, style.trouble);
  const dot = style.unicode ? ' · ' : ', ';
  // In the order in which they give way.
  const drops: (() => void)[] = [
    ...dotted.map(() => () => void dotted.pop()),
    ...rest.map(() => () => void rest.pop()),
  ];
  let barColumns = style.bar && progress.totalBytes !== undefined ? fullBarColumns : 0;
  const texts = () =>
    [share, ...rest].filter((word) => word !== '').join(' ') + dotted.map((word) => dot + word).join('');
  const needs = (nameColumns: number) => nameColumns + (barColumns > 0 ? barColumns + 1 : 0) + stringWidth(texts()) + 1;
  const least = Math.min(stringWidth(name), leastNameColumns);
  for (const drop of drops) {
    if (needs(least) <= style.columns) break;
    drop();
  }
  const missing = needs(Math.min(stringWidth(name), 24)) - style.columns;
  if (barColumns > 0 && missing > 0) barColumns = Math.max(leastBarColumns, barColumns - missing);
  if (needs(least) > style.columns) barColumns = 0;
  const shownName = cutTo(name, Math.max(0, style.columns - (needs(0) - 0)), style.unicode);
  return [shownName, bar(progress, barColumns, style), texts()].filter((word) => word !== '').join(' ');
}

function words(
  progress: UploadProgress,
  trouble: string | undefined,
): { readonly share: string; readonly rest: string[]; readonly dotted: string[] } {
  const { totalBytes, reachedBytes, bytesPerSecond, remainingMs, partCount, storedParts } = progress;
  const share = totalBytes === undefined ? '' : `${totalBytes === 0 ? '0.0' : percent(reachedBytes / totalBytes)}%`;
  const isGoing = trouble === undefined;
  const rest = [
    totalBytes === undefined ? formatBytes(reachedBytes) : formatShare(reachedBytes, totalBytes),
    bytesPerSecond === undefined || !isGoing ? '' : `${formatBytes(bytesPerSecond)}/s`,
    progress.phase === 'paused' ? 'paused' : '',
    progress.phase === 'completing' ? 'completing' : '',
    remainingMs === undefined || progress.phase !== 'sending' || !isGoing ? '' : `ETA ~${formatDuration(remainingMs)}`,
    partCount === undefined ? counted(storedParts, 'part', 'parts') : `parts ${storedParts}/${partCount}`,
  ].filter((word) => word !== '');
  const retries = counted(progress.retries, 'retry', 'retries');
  const dotted = [
    ...(progress.requestsInFlight > 0 ? [`${progress.requestsInFlight} in flight`] : []),
    ...(progress.retries > 0 ? [retries] : []),
  ];
  // Why it stands still is the last thing to give way.
  if (trouble !== undefined) rest.unshift(trouble);
  return { share, rest, dotted };
}

/** Not 100 before it is. */
function percent(share: number): string {
  return (share >= 1 ? 100 : Math.min(99.9, Math.floor(share * 1000) / 10)).toFixed(1);
}

function bar({ reachedBytes, totalBytes }: UploadProgress, columns: number, style: LineStyle): string {
  if (columns === 0) return '';
  const [done, open] = style.unicode ? ['━', '─'] : ['=', '-'];
  const full = totalBytes ? Math.floor((columns * reachedBytes) / totalBytes) : 0;
  const doneText = done.repeat(full);
  return (style.color && full > 0 ? `\u001b[32m${doneText}\u001b[39m` : doneText) + open.repeat(columns - full);
}

/** By columns, as wide characters take two. */
function cutTo(text: string, columns: number, unicode: boolean): string {
  if (stringWidth(text) <= columns) return text;
  const mark = unicode ? '…' : '~';
  let cut = '';
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (stringWidth(cut + segment + mark) > columns) break;
    cut += segment;
  }
  return columns < 1 ? '' : cut + mark;
}
