import { type Command, Option } from 'commander';
import type { PartwayClient, UploadJson } from '../sdk/node/index.ts';
import { examples } from './examples.ts';
import { reportFailure } from './failure.ts';
import { addServerOptions, type ServerFlags, serverOptionsOf } from './server-options.ts';
import { formatBytes, printable } from './units.ts';

interface Flags extends ServerFlags {
  readonly json?: true;
}

interface ListFlags extends Flags {
  readonly state?: string;
  readonly bucket?: string;
}

const states = ['creating', 'open', 'completing', 'completed', 'aborting', 'aborted', 'deleted'] as const;

/** As ids look. */
const anId = '0f5c8e41d7b94a3f8c1e2d6b7a905f13';

/** `partway ls|parts|status|abort|complete`: uploads as a gateway has them. */
export function addUploads(program: Command): void {
  addServerOptions(program.command('ls'))
    .description('list uploads, newest first')
    .argument('[prefix]', 'of their keys')
    .addOption(new Option('--state <state>', 'in this state only').choices(states))
    .option('--bucket <bucket>', 'in this bucket only')
    .option('--json', 'one JSON object a line')
    .addHelpText(
      'after',
      examples(['partway ls', 'all'], ['partway ls --state open nightly/', 'what is under way below nightly/']),
    )
    .action((prefix: string | undefined, flags: ListFlags) =>
      withClient(flags, (client) => list(client, prefix, flags)),
    );

  addServerOptions(program.command('parts'))
    .description('list the parts of an upload: what is stored, and what is missing')
    .argument('<id>', 'as ls shows it')
    .option('--json', 'one JSON object a line')
    .addHelpText('after', examples([`partway parts ${anId}`, 'number, state, offset, size, ETag']))
    .action((id: string, flags: Flags) => withClient(flags, (client) => listParts(client, id, flags)));

  addServerOptions(program.command('status'))
    .description('how far an upload is')
    .argument('<id>', 'as ls shows it')
    .option('--json', 'as one JSON object')
    .addHelpText('after', examples([`partway status ${anId} --json`, 'for programs']))
    .action((id: string, flags: Flags) =>
      withClient(flags, async (client) => show(await client.look(id), flags, describe)),
    );

  addServerOptions(program.command('abort'))
    .description('give an upload up; what is stored of it is deleted')
    .argument('<id>', 'as ls shows it')
    .addHelpText('after', examples([`partway abort ${anId}`, '']))
    .action((id: string, flags: Flags) =>
      withClient(flags, async (client) => {
        await client.abort(id);
        console.error(`aborted ${printable(id)}`);
      }),
    );

  addServerOptions(program.command('complete'))
    .description('make the object of an upload whose bytes are all there')
    .argument('<id>', 'as ls shows it')
    .option('--json', 'as one JSON object')
    .addHelpText('after', examples([`partway complete ${anId}`, 'if every byte is there']))
    .action((id: string, flags: Flags) =>
      withClient(flags, async (client) => {
        const completed = await client.complete(id).catch((error: Error & { code?: string }) => {
          if (error.code === 'incomplete')
            error.message += ` partway parts ${id} lists what is missing; pushing again sends it.`;
          throw error;
        });
        show(completed, flags, describe);
      }),
    );
}

async function withClient(flags: Flags, work: (client: PartwayClient) => Promise<void>): Promise<void> {
  try {
    const { PartwayClient } = await import('../sdk/node/index.ts');
    await work(new PartwayClient(await serverOptionsOf(flags)));
  } catch (error) {
    reportFailure(error);
  }
}

async function list(client: PartwayClient, prefix: string | undefined, flags: ListFlags): Promise<void> {
  const { state, bucket } = flags;
  let cursor: string | undefined;
  do {
    const page = await client.listPage({ prefix, state, bucket, cursor, limit: 1000 });
    for (const upload of page.uploads) show(upload, flags, row);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}

async function listParts(client: PartwayClient, id: string, flags: Flags): Promise<void> {
  for await (const { parts, missing } of client.listParts(id)) {
    const rows = [
      ...parts.map((part) => ({ ...part, state: 'stored' as const })),
      ...missing.map((part) => ({ ...part, state: 'missing' as const })),
    ];
    for (const part of rows.toSorted((a, b) => a.partNumber - b.partNumber)) {
      const etag = 'etag' in part ? part.etag : '';
      const columns = [part.partNumber, part.state, part.offset ?? '', part.size ?? '', etag];
      show(part, flags, () => columns.join('\t').trimEnd());
    }
  }
}

function show<T>(value: T, { json }: Flags, text: (value: T) => string): void {
  console.log(json ? JSON.stringify(value) : text(value));
}

function row(upload: UploadJson): string {
  return [upload.id, upload.state, sizeOf(upload), upload.createdAt, printable(upload.key)].join('\t');
}

function describe(upload: UploadJson): string {
  const { id, state, bucket, key, etag, offset, receivedBytes, size, expiresAt } = upload;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['id', id],
    ['key', `${bucket}/${printable(key)}`],
    ['state', stateOf(upload)],
    ['stored', isDropped(upload) ? undefined : sizeOf(upload)],
    ['offset', offset === receivedBytes || isDropped(upload) ? undefined : `${offset} (up to there without a gap)`],
    ['parts', upload.partCount === undefined ? undefined : String(upload.partCount)],
    ['etag', etag],
    ['expires', state === 'open' ? expiresAt : undefined],
    ['bytes', size === undefined || isDropped(upload) ? undefined : `${receivedBytes} of ${size}`],
  ];
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(8)} ${value}`])).join('\n');
}

function stateOf({ state, reason, conflicted }: UploadJson): string {
  if (conflicted) return `${state} (other bytes came for some that are stored: complete it as it is, or abort it)`;
  return reason === undefined ? state : `${state} (${reason})`;
}

/** What was stored of it is deleted, or about to be. */
function isDropped({ state }: UploadJson): boolean {
  return state === 'aborting' || state === 'aborted' || state === 'deleted';
}

function sizeOf(upload: UploadJson): string {
  const { state, size, receivedBytes } = upload;
  if (isDropped(upload)) return '-';
  if (state === 'completed') return formatBytes(size ?? receivedBytes);
  return size === undefined ? formatBytes(receivedBytes) : `${formatBytes(receivedBytes)} of ${formatBytes(size)}`;
}
