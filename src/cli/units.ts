const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `4.2 GiB`; bytes have no decimals. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** `4.2/10.0 GiB`: the unit once where it is the same. */
export function formatShare(bytes: number, totalBytes: number): string {
  const [number, unit] = formatBytes(bytes).split(' ');
  const total = formatBytes(totalBytes);
  return `${total.endsWith(` ${unit}`) ? number : `${number} ${unit}`}/${total}`;
}

/** `0:31`, `2:00:05`. */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours > 0) return `${hours}:${two(minutes % 60)}:${two(seconds % 60)}`;
  return `${minutes}:${two(seconds % 60)}`;
}

export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** What must not reach a terminal from names and answers: control characters, and what turns text round. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd');
}

/** `500K`, `10M`, `1.5G`, in powers of 1024; `undefined` for what is none. */
export function parseBytes(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  if (number === undefined) return undefined;
  return Math.floor(Number(number) * 1024 ** ' KMGT'.indexOf(unit.toUpperCase() || ' '));
}
