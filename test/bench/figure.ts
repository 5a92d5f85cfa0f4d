/** One line of the bench's table. */
export interface Figure {
  /** The row that `--only` names. */
  readonly row: string;
  readonly what: string;
  readonly value: number;
  readonly unit: 'x' | 'calls' | 'round trips' | 'MiB' | 'MiB/s' | 'ms' | 'CPU s/GiB';
  readonly wanted?: { readonly atMost: number } | { readonly atLeast: number };
  /** The quarters between which the middle half of the samples lies. */
  readonly spread?: readonly [number, number];
  readonly samples: number;
  /** What the value was made of; units are in the names. */
  readonly details: Readonly<Record<string, number>>;
}

export function isMet({ value, wanted }: Figure): boolean | undefined {
  if (wanted === undefined) return undefined;
  return 'atMost' in wanted ? value <= wanted.atMost : value >= wanted.atLeast;
}

/** One JSON object on one line. */
export function renderJson(figure: Figure): string {
  return JSON.stringify({ ...figure, met: isMet(figure) }, (_name, value: unknown) =>
    typeof value === 'number' ? round(value) : value,
  );
}

const headings = ['row', 'what', 'figure', 'wanted', '', 'middle half', 'samples', 'of'];

export function renderTable(figures: readonly Figure[]): string {
  const rows = [headings, ...figures.map(cells)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  const [head = '', ...body] = rows.map((row) => line(row).trimEnd());
  return [head, '-'.repeat(head.length), ...body].join('\n');
}

function cells(figure: Figure): string[] {
  const { row, what, value, unit, wanted, spread, samples, details } = figure;
  const met = isMet(figure);
  return [
    row,
    what,
    unit === 'x' ? `${round(value)}x` : `${round(value)} ${unit}`,
    wanted === undefined ? '' : 'atMost' in wanted ? `<= ${wanted.atMost}` : `>= ${wanted.atLeast}`,
    met === undefined ? '' : met ? 'met' : 'MISSED',
    spread === undefined ? '' : spread.map(round).join(' to '),
    String(samples),
    Object.entries(details)
      .map(([name, detail]) => `${name} ${round(detail)}`)
      .join(', '),
  ];
}

function round(value: number): number {
  return Number(value.toPrecision(3));
}
