import { styleText } from 'node:util';
import type { Level, Section } from './section.ts';

const marks = {
  ok: ['green', '✓'],
  note: ['dim', '·'],
  warning: ['yellow', '!'],
  fault: ['red', '✗'],
} as const satisfies Record<Level, unknown>;

export function printSection({ name, findings }: Section): void {
  console.log(styleText('bold', name));
  for (const { level, message } of findings) {
    const [style, mark] = marks[level];
    console.log(`  ${styleText(style, mark)} ${message.replaceAll('\n', '\n    ')}`);
  }
}

export function printVerdict(sections: readonly Section[]): void {
  const count = (level: Level) =>
    sections.reduce((sum, { findings }) => sum + findings.filter((finding) => finding.level === level).length, 0);
  const [faults, warnings] = [count('fault'), count('warning')];
  const verdict = faults > 0 ? `${faults} ${faults === 1 ? 'fault' : 'faults'}` : 'no faults';
  console.log(`${verdict}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`);
}
