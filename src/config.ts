import { z } from 'zod';
import { faultOfTemplate, unknownTemplateNames } from './core/key-template.ts';

const KiB = 1024;
const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kib: KiB,
  mib: KiB ** 2,
  gib: KiB ** 3,
  tib: KiB ** 4,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
  tb: 1000 ** 4,
};
const spans: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const size = z.string().transform((text, context) => {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text.trim()) ?? [];
  const bytes = Math.round(Number(number) * (units[unit.toLowerCase()] ?? Number.NaN));
  if (number !== '' && Number.isSafeInteger(bytes)) return bytes;
  context.addIssue({ code: 'custom', message: 'wanted: a size such as 64MiB, 5GiB or a number of bytes' });
  return z.NEVER;
});

const spanUpTo = (longestMs: number) =>
  z.string().transform((text, context) => {
    const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([smhd])$/i.exec(text.trim()) ?? [];
    const ms = Math.round(Number(number) * (spans[unit.toLowerCase()] ?? Number.NaN));
    if (ms > 0 && ms <= longestMs) return ms;
    const wanted = ms > longestMs ? `at most ${formatSpan(longestMs)}` : 'a time such as 15s, 30m, 24h or 7d';
    context.addIssue({ code: 'custom', message: `wanted: ${wanted}` });
    return z.NEVER;
  });

/** Ten years: a time after it is one that the records can still hold. */
const span = spanUpTo(3_650 * 86_400_000);
/** Node's timers take no more than 24.8 days. */
const timer = spanUpTo(3_600_000);

const flag = z.stringbool({ error: 'wanted: true or false' });
const bucketName = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'wanted: a bucket name of S3');
const url = z.url({ protocol: /^https?$/, error: 'wanted: a URL that begins with http:// or https://' });
const origin = z.string().refine((text) => text === '*' || text === 'none' || URL.parse(text)?.origin === text, {
  error: 'wanted: origins such as https://app.example, without a path, separated by commas; or *; or none',
});
const smallest = (bytes: number, text: string) =>
  size.refine((given) => given >= bytes, { error: `wanted: at least ${text}` });

/** Largest object of any store: 10,000 parts of 5 GiB. */
export const largestObjectBytes = 10_000 * 5 * KiB ** 3;

const environment = z.object({
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'wanted: a URL that begins with postgres://')
    .optional()
    .describe('The records. Unset: a Postgres of our own under the data directory.'),
  PARTWAY_DATA_DIR: z
    .string()
    .default('./data')
    .describe(
      'Where the embedded Postgres and the disk store keep their files. It belongs to one gateway: several share DATABASE_URL and S3.',
    ),
  S3_BUCKET: bucketName.optional().describe('The default bucket. Unset: the disk store under the data directory.'),
  S3_ENDPOINT: url.optional().describe('The S3 endpoint: MinIO, Ceph RGW, … Unset: AWS.'),
  S3_REGION: z.string().default('us-east-1').describe('The region that requests are signed for.'),
  S3_ACCESS_KEY_ID: z.string().optional().describe("Unset: the AWS SDK's default chain."),
  S3_SECRET_ACCESS_KEY: z.string().optional().describe('Goes with S3_ACCESS_KEY_ID.'),
  S3_FORCE_PATH_STYLE: flag
    .optional()
    .describe('Bucket in the path, not in the host name. Unset: true where S3_ENDPOINT is set.'),
  S3_EQUAL_PARTS: flag.default(false).describe('The store wants all parts but the last of one size (Cloudflare R2).'),
  PARTWAY_BUCKETS: z
    .string()
    .default('')
    .transform((text) =>
      text
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== ''),
    )
    .pipe(z.array(bucketName))
    .describe('Further buckets that clients may name, separated by commas.'),
  PARTWAY_HOST: z.string().default('127.0.0.1').describe('The address to listen on.'),
  PARTWAY_PORT: z
    .string()
    .regex(/^\d+$/, 'wanted: a port from 0 to 65535')
    .transform(Number)
    .refine((port) => port <= 65_535, 'wanted: a port from 0 to 65535')
    .default(8080)
    .describe('The port to listen on; 0 takes a free one.'),
  PARTWAY_AUTH: z
    .enum(['none', 'keys'], { error: 'wanted: none or keys' })
    .default('none')
    .describe('`none`: whoever reaches the port may do everything. `keys`: API keys, made with `partway keys create`.'),
  PARTWAY_ALLOW_ANONYMOUS_PUBLIC: flag
    .default(false)
    .describe('Allows PARTWAY_AUTH=none on an address that others can reach.'),
  PARTWAY_PUBLIC_URL: url
    .optional()
    .describe('The URL that clients use, for links in answers. Unset: links are relative.'),
  PARTWAY_CORS_ORIGINS: z
    .string()
    .transform((text) => text.split(',').map((origin) => origin.trim()))
    .pipe(z.array(origin))
    .optional()
    .describe(
      'Origins whose pages may call the gateway, such as https://app.example, separated by commas; `*` for all, `none` for none. Unset: all where PARTWAY_AUTH asks for keys, else none.',
    ),
  PARTWAY_UPLOAD_LIFETIME: span.default(7 * 86_400_000).describe('An upload that is not completed by then expires.'),
  PARTWAY_STORE_KEEPS: span
    .optional()
    .describe(
      'How long the store keeps unfinished uploads; no upload lives longer. Unset: 24h where the store says that it is MinIO (its default), else for ever.',
    ),
  PARTWAY_RETENTION: span.default(7 * 86_400_000).describe('How long an ended upload can still be looked at.'),
  PARTWAY_MEMORY_BUDGET: smallest(8 * KiB ** 2, '8MiB')
    .default(256 * KiB ** 2)
    .describe(
      'Memory for bodies under way, half a MiB each, and for bytes that are held to save work; with the budget used up further bodies are answered 503.',
    ),
  PARTWAY_MAX_SIZE: smallest(1, '1')
    .refine((bytes) => bytes <= largestObjectBytes, { error: 'wanted: at most 50000GiB, the largest object of S3' })
    .default(5 * KiB ** 4)
    .describe("The largest upload. MinIO's largest object is 5TiB, that of AWS 50000GiB."),
  PARTWAY_KEY_TEMPLATE: z
    .string()
    .refine((template) => unknownTemplateNames(template).length === 0, {
      error: 'wanted: a key made with {tenant}, {date}, {id} and {filename}',
    })
    .refine((template) => template.includes('{id}'), { error: 'wanted: a key with {id}, so that no two are the same' })
    .superRefine((template, { addIssue }) => {
      const fault = faultOfTemplate(template);
      if (fault !== undefined) addIssue({ code: 'custom', message: `wanted: a key, which ${fault}` });
    })
    .default('{date}/{id}/{filename}')
    .describe(
      'Names the object of an upload whose client named none: with `{id}`, and `{tenant}`, `{date}` (UTC) and `{filename}` (made safe) where they are wanted.',
    ),
  PARTWAY_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'wanted: trace, debug, info, warn, error, fatal or silent',
    })
    .default('info')
    .describe('The least severe level that is logged, as JSON lines on standard error.'),
  PARTWAY_STAGING_PREFIX: z
    .string()
    .regex(/^(?!\.{1,2}\/)[A-Za-z0-9._-]+\/$/, 'wanted: one name that ends with /, such as .partway/')
    .default('.partway/')
    .describe("Keys under it are the gateway's own."),
  PARTWAY_READ_OBJECTS: flag
    .optional()
    .describe('Serves objects at /objects/<key>. Unset: true with the disk store, false with S3.'),
  PARTWAY_SUPERSEDE_AFTER: span
    .default(10 * 60_000)
    .describe(
      'A first chunk that differs from the stored one begins the file anew, once nobody has written to it for so long (Content-Range on a name).',
    ),
  PARTWAY_READ_BACK_MAX: size
    .default(KiB ** 3)
    .describe(
      "The largest object that is read back once for an MD5 or CRC-32C that Google's clients ask for and that could not be carried along.",
    ),
  PARTWAY_BODY_IDLE_TIMEOUT: timer
    .default(15_000)
    .describe(
      "A client that sends nothing for so long is cut off. Keep it below the store's own limit (AWS about 20s).",
    ),
  PARTWAY_SHUTDOWN_GRACE: timer.default(30_000).describe('How long requests under way may go on after SIGTERM.'),
});

export type Environment = z.infer<typeof environment>;

export interface Settings extends Environment {
  readonly warnings: readonly string[];
}

/** Every wrong setting at once, readable by people. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

/** Names under our prefix that belong to the clients or the tests. */
const foreign = /^PARTWAY_(URL|API_KEY|API_KEY_FILE|TEST_.*)$/;
const secret = /SECRET|DATABASE_URL|API_KEY$/;

/** @throws SettingsError */
export function readSettings(env: Readonly<Record<string, string | undefined>>): Settings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = environment.safeParse(given);
  const faults = parsed.success
    ? contradictions(parsed.data)
    : parsed.error.issues.map(({ path, message }) => describeFault(String(path[0]), given, message));
  if (!parsed.success || faults.length > 0) {
    throw new SettingsError(`${['These settings are wrong:', ...faults.map((fault) => `  ${fault}`)].join('\n')}`);
  }
  const known = new Set(Object.keys(environment.shape));
  const warnings = Object.keys(given)
    .filter((name) => name.startsWith('PARTWAY_') && !known.has(name) && !foreign.test(name))
    .map((name) => `${name} is not a setting of this program`);
  return { ...parsed.data, warnings };
}

function describeFault(name: string, given: Record<string, string | undefined>, wanted: string): string {
  return `${name}: ${secret.test(name) ? 'given: (not shown)' : `given: ${JSON.stringify(given[name])}`}, ${wanted}`;
}

function contradictions(settings: Environment): string[] {
  const faults: string[] = [];
  const s3 = ['S3_ENDPOINT', 'S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY', 'S3_FORCE_PATH_STYLE'] as const;
  const lonely = settings.S3_BUCKET === undefined ? s3.filter((name) => settings[name] !== undefined) : [];
  if (lonely.length > 0) faults.push(`S3_BUCKET: not given, wanted: a bucket, since ${lonely.join(', ')} is set`);
  if ((settings.S3_ACCESS_KEY_ID === undefined) !== (settings.S3_SECRET_ACCESS_KEY === undefined)) {
    faults.push('S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY: only one is given, wanted: both or neither');
  }
  if (
    settings.PARTWAY_AUTH === 'none' &&
    !isLoopback(settings.PARTWAY_HOST) &&
    !settings.PARTWAY_ALLOW_ANONYMOUS_PUBLIC
  ) {
    faults.push(
      `PARTWAY_AUTH: none on PARTWAY_HOST=${settings.PARTWAY_HOST} lets anybody write; ` +
        'wanted: PARTWAY_AUTH=keys, or PARTWAY_ALLOW_ANONYMOUS_PUBLIC=true if that is what you mean',
    );
  }
  return faults;
}

/** Whose scripts in browsers may call: where no key is asked for, any page that somebody opens could otherwise. */
export function corsOriginsOf({ PARTWAY_CORS_ORIGINS: given, PARTWAY_AUTH: auth }: Settings): readonly string[] {
  return given?.filter((origin) => origin !== 'none') ?? (auth === 'keys' ? ['*'] : []);
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

export interface ResolvedSetting {
  readonly name: string;
  /** As it was given, without secrets; else the default. Unset: neither is there. */
  readonly value: string | undefined;
  readonly source: 'environment' | 'default' | 'unset';
}

/** Where each setting comes from, right or wrong. */
export function resolveSettings(env: Readonly<Record<string, string | undefined>>): readonly ResolvedSetting[] {
  return settingsTable().map(({ name, defaultValue }) => {
    const given = env[name];
    if (given !== undefined && given !== '') return { name, value: withoutSecrets(name, given), source: 'environment' };
    if (defaultValue === '') return { name, value: undefined, source: 'unset' };
    return { name, value: defaultValue, source: 'default' };
  });
}

/** A setting as it may be shown: a URL may carry a user and password. */
export function withoutSecrets(name: string, given: string): string {
  return secret.test(name) ? '(set)' : given.replace(/(?<=\/\/)[^/]*@/, '(set)@');
}

/** The settings as rows of documentation. */
export function settingsTable(): readonly { name: string; defaultValue: string; description: string }[] {
  return Object.entries(environment.shape).map(([name, schema]) => ({
    name,
    defaultValue: defaultOf(name, schema),
    description: schema.description ?? '',
  }));
}

function defaultOf(name: string, schema: z.ZodType): string {
  const value: unknown = schema.safeParse(undefined).data;
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.join(',');
  if (typeof value !== 'number' || name === 'PARTWAY_PORT') return String(value);
  return isSpan(schema) ? formatSpan(value) : formatSize(value);
}

function isSpan(schema: z.ZodType): boolean {
  return schema.safeParse('1s').success;
}

export function formatSpan(ms: number): string {
  for (const [unit, length] of Object.entries(spans).reverse()) {
    if (ms % length === 0) return `${ms / length}${unit}`;
  }
  return `${ms}ms`;
}

export function formatSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const length = units[unit.toLowerCase()] ?? 1;
    if (bytes % length === 0) return `${bytes / length}${unit}`;
  }
  return String(bytes);
}
