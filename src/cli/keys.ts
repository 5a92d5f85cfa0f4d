import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ApiKey } from '../db/api-keys.ts';
import type { OpenRecords } from '../open-records.ts';
import { examples } from './examples.ts';
import { reportFailure } from './failure.ts';

const allScopes = ['uploads:write', 'uploads:read', 'objects:read'] as const;
type Scope = (typeof allScopes)[number];

interface CreateOptions {
  readonly tenant: string;
  readonly tenantPrefix?: string;
  readonly name: string;
  readonly scope: readonly Scope[];
  readonly bucket?: string;
  readonly prefix: string;
  readonly json?: true;
}

/** `partway keys create|list|revoke`: API keys, straight in the records. */
export function addKeys(program: Command): void {
  const keys = program
    .command('keys')
    .description('make, list and revoke API keys (in the records that DATABASE_URL or PARTWAY_DATA_DIR names)');

  keys
    .command('create')
    .description('make a key; its text is printed once, on standard output')
    .option('--tenant <name>', 'whose uploads it opens', parseTenant, 'default')
    .option(
      '--tenant-prefix <prefix>',
      "where the tenant's objects live (default: the tenant's name and /)",
      parsePrefix,
    )
    .option('--name <text>', 'a note to tell keys apart', '')
    .addOption(
      new Option('--scope <scope...>', 'what it may do').choices([...allScopes]).default([...allScopes], 'everything'),
    )
    .option('--bucket <bucket>', 'the only bucket it may use')
    .option('--prefix <prefix>', "keys must begin with it, below the tenant's prefix", parsePrefix, '')
    .option('--json', 'print the key and what it may do as JSON')
    .addHelpText(
      'after',
      examples(['partway keys create --tenant acme --scope uploads:write', 'may upload, and read nothing']),
    )
    .action((options: CreateOptions) => withRecords((records) => create(records, options), { mayCreate: true }));

  keys
    .command('list')
    .description('list keys, without their texts')
    .option('--json', 'one JSON object a line')
    .action((options: { json?: true }) => withRecords((records) => list(records, options)));

  keys
    .command('revoke')
    .description('revoke a key; gateways forget it within five seconds')
    .argument('<id>', 'as list shows it')
    .action((id: string) => withRecords((records) => revoke(records, id)));
}

function parseTenant(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)) return text;
  throw new InvalidArgumentError('Wanted: up to 63 letters, digits, ., _ and -, beginning with a letter or digit.');
}

function parsePrefix(text: string): string {
  if (text === '' || /^(?!\/)(?!.*(^|\/)\.{0,2}\/)[^\p{Cc}]{1,512}\/$/u.test(text)) return text;
  throw new InvalidArgumentError('Wanted: a prefix that ends with / and has no empty, . or .. segment.');
}

async function create({ connection, settings }: OpenRecords, options: CreateOptions): Promise<void> {
  const { createApiKey } = await import('../db/api-keys.ts');
  const { key, secret } = await createApiKey(connection, {
    tenant: options.tenant,
    tenantKeyPrefix: options.tenantPrefix,
    name: options.name,
    scopes: options.scope,
    bucket: options.bucket,
    keyPrefix: options.prefix,
    stagingPrefix: settings.PARTWAY_STAGING_PREFIX,
  });
  if (options.json) {
    console.log(JSON.stringify({ ...key, secret }));
    return;
  }
  console.error(`made key ${describe(key)}; this is the only time that its text is shown:`);
  console.log(secret);
}

async function list({ connection }: OpenRecords, options: { json?: true }): Promise<void> {
  const { listApiKeys } = await import('../db/api-keys.ts');
  const keys = await listApiKeys(connection);
  for (const key of keys) console.log(options.json ? JSON.stringify(key) : describe(key));
  if (keys.length === 0 && !options.json) console.error('there are no keys; make one with: keys create');
}

async function revoke({ connection }: OpenRecords, id: string): Promise<void> {
  const { revokeApiKey } = await import('../db/api-keys.ts');
  if (await revokeApiKey(connection, id)) {
    console.error(`revoked ${id}`);
    return;
  }
  console.error(`there is no key ${id}; partway keys list shows them`);
  process.exitCode = 4;
}

function describe(key: ApiKey): string {
  const places = [
    key.bucket === undefined ? 'any bucket' : `bucket ${key.bucket}`,
    `under "${key.tenantKeyPrefix}${key.keyPrefix}"`,
  ];
  const state = key.revokedAt === undefined ? '' : `  revoked ${key.revokedAt.toISOString()}`;
  const name = key.name === '' ? '' : `  "${key.name}"`;
  return `${key.id}  tenant ${key.tenant}  ${places.join(' ')}  ${key.scopes.join(',')}${name}${state}`;
}

/** The records that a gateway with the same settings uses: also while it runs. */
async function withRecords(
  work: (records: OpenRecords) => Promise<void>,
  options: { readonly mayCreate: boolean } = { mayCreate: false },
): Promise<void> {
  try {
    const { openRecords } = await import('../open-records.ts');
    await using records = await openRecords(process.env, options);
    await work(records);
  } catch (error) {
    reportFailure(error);
  }
}
