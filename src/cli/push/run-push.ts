import { fstatSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import {
  isInterruptedError,
  isPartwayError,
  type PartwayError,
  type ResumeStore,
  resumeFingerprint,
  type ServerOptions,
  SourceError,
  type UploadOptions,
  type UploadResult,
  type UploadTask,
  upload,
} from '../../sdk/node/index.ts';
import { exitCodeOf } from '../failure.ts';
import type { PushFlags } from '../push.ts';
import { serverOptionsOf } from '../server-options.ts';
import { formatBytes } from '../units.ts';
import { createDisplay, type Display } from './display.ts';
import { KnownUntilAllAreDone } from './known-until-all-are-done.ts';
import { piecesOf } from './pieces.ts';
import { type PushItem, planPush } from './plan.ts';
import { type Producer, startProducer } from './producer.ts';
import { resumeCommand } from './resume-command.ts';
import { Signals } from './signals.ts';
import { StateFiles } from './state.ts';

interface Pushing {
  readonly flags: PushFlags;
  readonly server: ServerOptions;
  readonly display: Display;
  readonly signals: Signals;
  readonly state: StateFiles;
  readonly resumeStore: ResumeStore;
  /** What is under way. */
  readonly current: { task?: UploadTask };
}

/** One item after the other. The exit code is that of the first that failed; what ends a push ends them all. */
export async function runPush(operands: readonly string[], flags: PushFlags): Promise<void> {
  const display = createDisplay(flags);
  const current: { task?: UploadTask } = {};
  using signals = new Signals(() => {
    if (current.task !== undefined) display.state(current.task.progress);
  });
  const startedMs = performance.now();
  const totals = { files: 0, failed: 0, sizeBytes: 0, sentBytes: 0 };
  let exitCode = 0;
  try {
    const server = await serverOptionsOf(flags);
    const { items, skipped } = await planPush(operands, flags);
    // Node forgets that nohup had SIGHUP ignored. What comes from a pipe may have been cut off with it.
    signals.outlivesTerminal = process.stderr.isTTY !== true && items.every(({ kind }) => kind === 'file');
    for (const path of skipped) display.note(`${path} is no regular file: not pushed`);
    const state = new StateFiles(process.env);
    const together = new KnownUntilAllAreDone(state);
    const resumeStore = items.length > 1 ? together : state;
    const pushing = { flags, server, display, signals, current, state, resumeStore };
    for (const item of items) {
      const outcome = await pushItem(pushing, item);
      totals.files++;
      if ('result' in outcome) {
        totals.sizeBytes += outcome.result.sizeBytes;
        totals.sentBytes += outcome.result.sentBytes;
        continue;
      }
      totals.failed++;
      totals.sentBytes += outcome.sentBytes;
      exitCode ||= outcome.exitCode;
      if (endsAll(outcome.exitCode)) break;
    }
    if (exitCode === 0) await together.forget().catch((error: unknown) => display.note(String(error)));
    // Of one file that fails, the last line tells why.
    if (items.length !== 1 || (flags.json && exitCode === 0))
      display.summary({ ...totals, tookMs: performance.now() - startedMs });
  } catch (error) {
    exitCode = exitCodeOf(error);
    display.failed(error, exitCode);
  } finally {
    display.close();
  }
  // What could not be printed has its code already.
  if (exitCode !== 0) process.exitCode = exitCode;
}

/** The next file would meet the same. */
function endsAll(exitCode: number): boolean {
  return exitCode === 2 || exitCode === 5 || exitCode === 6 || exitCode >= 128;
}

async function pushItem(
  pushing: Pushing,
  item: PushItem,
): Promise<{ readonly result: UploadResult } | { readonly exitCode: number; readonly sentBytes: number }> {
  const { display, signals } = pushing;
  delete pushing.current.task;
  display.begin(nameOf(item));
  let producer: Producer | undefined;
  try {
    if (item.kind === 'unreadable') throw item.error;
    if (item.kind === 'file') return { result: await pushFile(pushing, item.path, item.key) };
    if (item.kind === 'command') producer = startProducer(item.command, item.args);
    const pieces = producer?.pieces ?? piecesOfStdin();
    pushing.current.task = upload(pieces, optionsOf(pushing, item.key));
    const result = await pushing.current.task.finished;
    display.pushed(result);
    return { result };
  } catch (error) {
    const isProducers = isPartwayError(error) && error.code === 'producer_failed';
    const exitCode = signals.exitCode ?? (isProducers ? (producer?.exitCode ?? 1) : exitCodeOf(error));
    if (isPartwayError(error) && error.code === 'source_changed') error.message += ' With --restart it begins anew.';
    if (isInterruptedError(error)) error.message = wordsOfEnd(item, pushing.current.task);
    else if (isPartwayError(error)) error.message = asTyped(error) + wordsOfRest(item, error, exitCode);
    display.failed(error, exitCode);
    return { exitCode, sentBytes: pushing.current.task?.progress.sentBytes ?? 0 };
  } finally {
    producer?.stop();
    // Whoever writes to it may go on for ever.
    if (item.kind === 'stdin') process.stdin.destroy();
  }
}

/** @throws SourceError */
function piecesOfStdin(): AsyncIterable<Uint8Array> {
  // Node takes what it can't read for empty.
  if (fstatSync(0).isDirectory()) throw new SourceError('standard input is a folder', { code: 'source_missing' });
  return piecesOf(process.stdin);
}

async function pushFile(pushing: Pushing, path: string, key: string): Promise<UploadResult> {
  const { state, resumeStore, flags, display } = pushing;
  const options = optionsOf(pushing, key);
  const fingerprint = resumeFingerprint(options, resolve(path));
  await using _held = await state.hold(fingerprint, path);
  pushing.current.task = upload({ path }, { ...options, fingerprint, resumeStore, restart: flags.restart === true });
  const result = await pushing.current.task.finished;
  display.pushed(result);
  return result;
}

function optionsOf({ flags, server, display, signals }: Pushing, key: string): UploadOptions {
  return {
    ...server,
    key,
    bucket: flags.bucket,
    contentType: flags.contentType,
    ifNoneMatch: flags.ifNoneMatch ? '*' : undefined,
    mode: flags.direct ? 'direct' : flags.relay ? 'relay' : 'auto',
    parallel: flags.parallel,
    partSizeBytes: flags.partSize,
    windowBytes: flags.window,
    limitBytesPerSecond: flags.limitRate,
    digest: flags.digest,
    giveUpAfterMs: flags.giveUpAfter * 1000,
    signal: signals.stopped,
    onEvent: (event) => display.event(event),
    onProgress: (progress) => display.progress(progress),
  };
}

function wordsOfEnd(item: PushItem, task: UploadTask | undefined): string {
  if (item.kind !== 'file') return 'Interrupted. Nothing was completed, and nothing is kept.';
  const command = resumeCommand(process.argv);
  if (task?.uploadId === undefined) return `Interrupted before anything was sent. To try again: ${command}`;
  const { storedBytes, totalBytes } = task.progress;
  const stored =
    totalBytes === undefined ? '' : ` with ${formatBytes(storedBytes)} of ${formatBytes(totalBytes)} stored`;
  return `The upload is kept${stored}. This goes on with it: ${command}`;
}

/** Of a push that was refused after it had sent. */
function wordsOfRest(item: PushItem, { uploadId, isResumable }: PartwayError, exitCode: number): string {
  const isKept = item.kind === 'file' && uploadId !== undefined && isResumable;
  return isKept && (exitCode === 7 || exitCode === 8)
    ? ` What was sent is kept; partway abort ${uploadId} drops it.`
    : '';
}

/** The gateway names what it was sent; here that has the names of options. */
function asTyped({ message, problem }: PartwayError): string {
  const option = problem.code === 'invalid_request' ? /^\w+/.exec(message)?.[0] : undefined;
  const typed = option === undefined ? undefined : optionOf[option];
  return typed === undefined ? message : message.replace(/^\w+/, typed);
}

const optionOf: Readonly<Record<string, string>> = {
  contentType: '--content-type',
  partSize: '--part-size',
  bucket: '--bucket',
  digest: '--digest',
  key: 'the key',
};

function nameOf(item: PushItem): string {
  return 'path' in item ? basename(item.path) : item.key;
}
