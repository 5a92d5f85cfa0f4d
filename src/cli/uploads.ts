import { type Command, Option } from 'commander';
import type { PartwayClient, UploadJson } from '../sdk/node/index.ts';
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

/** `partway ls|parts|status|abort|complete`: uploads as a gateway has them. */
export function addUploads(program: Command): void {
  addServerOptions(program.command('ls'))
    .description('list uploads, newest first')
    .argument('[prefix]', 'of their keys')
    .addOption(new Option('--state <state>', 'in this state only').choices(states))
    .option('--bucket <bucket>', 'in this bucket only')
    .option('--json', 'one JSON object a line')
    .action((prefix: string | undefined, flags: ListFlags) =>
      withClient(flags, (client) => list(client, prefix, flags)),
    );

  addServerOptions(program.command('parts'))
    .description('list the parts of an upload: what is stored, and what is missing')
    .argument('<id>', 'as ls shows it')
    .option('--json', 'one JSON object a line')
    .action((id: string, flags: Flags) => withClient(flags, (client) => listParts(client, id, flags)));

  addServerOptions(program.command('status'))
    .description('how far an upload is')
    .argument('<id>', 'as ls shows it')
    .option('--json', 'as one JSON object')
    .action((id: string, flags: Flags) =>
      withClient(flags, async (client) => show(await client.look(id), flags, describe)),
    );

  addServerOptions(program.command('abort'))
    .description('give an upload up; what is stored of it is deleted')
    .argument('<id>', 'as ls shows it')
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
    .action((id: string, flags: Flags) =>
      withClient(flags, async (client) => show(await client.complete(id), flags, describe)),
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
  const { id, state, reason, bucket, key, etag, offset, receivedBytes, size, expiresAt } = upload;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ['id', id],
    ['key', `${bucket}/${printable(key)}`],
    ['state', reason === undefined ? state : `${state} (${reason})`],
    ['stored', sizeOf(upload)],
    ['offset', offset === receivedBytes ? undefined : `${offset} (up to there without a gap)`],
    ['parts', upload.partCount === undefined ? undefined : String(upload.partCount)],
    ['etag', etag],
    ['expires', state === 'open' ? expiresAt : undefined],
    ['bytes', size === undefined ? undefined : `${receivedBytes} of ${size}`],
  ];
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [`${name.padEnd(8)} ${value}`])).join('\n');
}

function sizeOf({ state, size, receivedBytes }: UploadJson): string {
  if (state === 'completed') return formatBytes(size ?? receivedBytes);
  return size === undefined ? formatBytes(receivedBytes) : `${formatBytes(receivedBytes)} of ${formatBytes(size)}`;
}
