import { lstat, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { SourceError, UsageError } from '../../sdk/node/index.ts';
import type { PushFlags } from '../push.ts';

/** One object to make. */
export type PushItem =
  | { readonly kind: 'file'; readonly path: string; readonly key: string }
  | { readonly kind: 'stdin'; readonly key: string }
  /** A folder: what it holds is not known. */
  | { readonly kind: 'unreadable'; readonly path: string; readonly key: string; readonly error: SourceError }
  | { readonly kind: 'command'; readonly key: string; readonly command: string; readonly args: readonly string[] };

export interface PushPlan {
  readonly items: readonly PushItem[];
  /** What folders hold and is not pushed: links, sockets, … */
  readonly skipped: readonly string[];
}

/**
 * What the operands mean. Of two the second is the key, unless it is there as a file: then nothing is guessed.
 * @throws UsageError, SourceError
 */
export async function planPush(operands: readonly string[], flags: PushFlags): Promise<PushPlan> {
  const plan = await plannedOf(operands, flags);
  const { items } = plan;
  if (flags.digest !== undefined && items.length > 1) {
    throw new UsageError('--digest: is of one file, and no two have the same: push them one by one');
  }
  if (flags.restart && items.some(({ kind }) => kind === 'stdin' || kind === 'command')) {
    throw new UsageError('--restart: nothing is remembered of what comes from a pipe');
  }
  return plan;
}

async function plannedOf(operands: readonly string[], flags: PushFlags): Promise<PushPlan> {
  if (flags.fromCommand) return { items: [commandOf(operands, flags)], skipped: [] };
  const { paths, key } = await splitKey(operands, flags);
  const [first = ''] = paths;
  if (paths.includes('-')) {
    if (paths.length > 1) throw new UsageError('standard input is pushed alone');
    if (key === undefined) throw new UsageError('what comes from a pipe has no name: partway push - KEY');
    return { items: [{ kind: 'stdin', key }], skipped: [] };
  }
  if (key !== undefined) {
    if (paths.length > 1 || (await isFolder(first))) {
      throw new UsageError('several files have keys of their own: --prefix is what they begin with');
    }
    return { items: [{ kind: 'file', path: first, key }], skipped: [] };
  }
  const skipped: string[] = [];
  const items: PushItem[] = [];
  for (const path of paths) {
    for await (const item of within(path, (flags.prefix ?? '') + basename(resolve(path)), skipped)) items.push(item);
  }
  requireDistinct(items);
  return { items, skipped };
}

function commandOf(operands: readonly string[], flags: PushFlags): PushItem {
  const [key, command, ...args] = flags.key === undefined ? operands : [flags.key, ...operands];
  // Else the first word of a command would be the key of what the others bring.
  if (operands.length - flags.commandWords !== (flags.key === undefined ? 1 : 0)) {
    throw new UsageError(
      'the key goes before --, the command behind it: partway push KEY --from-command -- COMMAND ARGUMENTS',
    );
  }
  if (key === undefined || command === undefined || command === '') {
    throw new UsageError('a command wants a key and the command: partway push KEY --from-command -- COMMAND ARGUMENTS');
  }
  return { kind: 'command', key: (flags.prefix ?? '') + key, command, args };
}

async function splitKey(
  operands: readonly string[],
  flags: PushFlags,
): Promise<{ readonly paths: readonly string[]; readonly key: string | undefined }> {
  const prefixed = (key: string) => (flags.prefix ?? '') + key;
  if (flags.key !== undefined) return { paths: operands, key: prefixed(flags.key) };
  const [path = '', second] = operands;
  if (operands.length !== 2 || second === undefined || flags.prefix !== undefined) {
    return { paths: operands, key: undefined };
  }
  if (path === '-' || !(await isThere(second))) return { paths: [path], key: second };
  throw new UsageError(
    `is ${second} a second file, or the key? For two files add --prefix '', for a key --key ${second}`,
  );
}

/** Keys of what a folder holds begin with the folder's own name, as with cp -r. */
async function* within(path: string, key: string, skipped: string[]): AsyncGenerator<PushItem> {
  if (!(await isFolder(path))) {
    yield { kind: 'file', path, key };
    return;
  }
  const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    return new SourceError(`${path}: ${why}`, { code: 'source_unreadable', cause: error });
  });
  if (entries instanceof SourceError) {
    yield { kind: 'unreadable', path, key, error: entries };
    return;
  }
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) yield* within(inner, `${key}/${entry.name}`, skipped);
    else if (entry.isFile()) yield { kind: 'file', path: inner, key: `${key}/${entry.name}` };
    else skipped.push(inner);
  }
}

function requireDistinct(items: readonly PushItem[]): void {
  const keys = new Set<string>();
  for (const { key } of items) {
    if (keys.has(key)) throw new UsageError(`two files would have the key ${key}: push them one by one`);
    keys.add(key);
  }
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** @throws SourceError */
async function isFolder(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new SourceError(`${path}: ${isMissing ? 'there is no such file' : String(error)}`, {
      code: 'source_missing',
      cause: error,
    });
  }
}
