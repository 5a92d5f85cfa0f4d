/** Below a command's options. Each line: what to type, then what that does. */
export function examples(...lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([typed]) => typed.length));
  const rows = lines.map(([typed, meaning]) => `  ${typed.padEnd(width)}   ${meaning}`.trimEnd());
  return ['', lines.length === 1 ? 'Example:' : 'Examples:', ...rows].join('\n');
}
