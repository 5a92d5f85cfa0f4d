import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { formatSize, formatSpan, readSettings, SettingsError, settingsTable } from '../src/config.ts';

function faultsOf(env: Record<string, string>): string[] {
  try {
    readSettings(env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    const [head, ...faults] = error.message.split('\n');
    expect(head).toBe('These settings are wrong:');
    return faults;
  }
  throw new Error(`nothing is wrong with ${JSON.stringify(env)}`);
}

const minutes = 60_000;
const hours = 60 * minutes;
const days = 24 * hours;
const MiB = 1024 ** 2;

describe('without any setting', () => {
  it('the gateway runs by itself, on this machine alone', () => {
    expect(readSettings({})).toEqual({
      PARTWAY_DATA_DIR: './data',
      S3_REGION: 'us-east-1',
      S3_EQUAL_PARTS: false,
      PARTWAY_BUCKETS: [],
      PARTWAY_HOST: '127.0.0.1',
      PARTWAY_PORT: 8080,
      PARTWAY_AUTH: 'none',
      PARTWAY_ALLOW_ANONYMOUS_PUBLIC: false,
      PARTWAY_UPLOAD_LIFETIME: 7 * days,
      PARTWAY_RETENTION: 7 * days,
      PARTWAY_MEMORY_BUDGET: 256 * MiB,
      PARTWAY_MAX_SIZE: 5 * 1024 ** 4,
      PARTWAY_KEY_TEMPLATE: '{date}/{id}/{filename}',
      PARTWAY_LOG_LEVEL: 'info',
      PARTWAY_STAGING_PREFIX: '.partway/',
      PARTWAY_SUPERSEDE_AFTER: 600_000,
      PARTWAY_READ_BACK_MAX: 1024 ** 3,
      PARTWAY_BODY_IDLE_TIMEOUT: 15_000,
      PARTWAY_SHUTDOWN_GRACE: 30_000,
      warnings: [],
    });
  });

  it.each(settingsTable().map(({ name }) => name))('an empty %s is as one that is not given', (name) => {
    expect(readSettings({ [name]: '' })).toEqual(readSettings({}));
  });
});

describe('a wrong setting is named with what was given and what is wanted', () => {
  it.each([
    ['S3_ENDPOINT', 'minio:9000', 'wanted: a URL that begins with http:// or https://'],
    ['S3_ENDPOINT', 'ftp://minio', 'wanted: a URL that begins with http:// or https://'],
    ['S3_BUCKET', 'Uploads', 'wanted: a bucket name of S3'],
    ['S3_BUCKET', 'ab', 'wanted: a bucket name of S3'],
    ['S3_FORCE_PATH_STYLE', 'perhaps', 'wanted: true or false'],
    ['S3_EQUAL_PARTS', '2', 'wanted: true or false'],
    ['PARTWAY_BUCKETS', 'good-one,Bad', 'wanted: a bucket name of S3'],
    ['PARTWAY_PORT', '65536', 'wanted: a port from 0 to 65535'],
    ['PARTWAY_PORT', '-1', 'wanted: a port from 0 to 65535'],
    ['PARTWAY_PORT', '80.5', 'wanted: a port from 0 to 65535'],
    ['PARTWAY_AUTH', 'password', 'wanted: none or keys'],
    ['PARTWAY_ALLOW_ANONYMOUS_PUBLIC', 'maybe', 'wanted: true or false'],
    ['PARTWAY_PUBLIC_URL', 'uploads.example', 'wanted: a URL that begins with http:// or https://'],
    ['PARTWAY_UPLOAD_LIFETIME', '0s', 'wanted: a time such as 15s, 30m, 24h or 7d'],
    ['PARTWAY_UPLOAD_LIFETIME', '100', 'wanted: a time such as 15s, 30m, 24h or 7d'],
    ['PARTWAY_STORE_KEEPS', '-1d', 'wanted: a time such as 15s, 30m, 24h or 7d'],
    ['PARTWAY_RETENTION', '1w', 'wanted: a time such as 15s, 30m, 24h or 7d'],
    ['PARTWAY_RETENTION', '999999999999d', 'wanted: at most 3650d'],
    ['PARTWAY_UPLOAD_LIFETIME', '3651d', 'wanted: at most 3650d'],
    ['PARTWAY_STORE_KEEPS', '87601h', 'wanted: at most 3650d'],
    ['PARTWAY_BODY_IDLE_TIMEOUT', '2h', 'wanted: at most 1h'],
    ['PARTWAY_SHUTDOWN_GRACE', '61m', 'wanted: at most 1h'],
    ['PARTWAY_MEMORY_BUDGET', '7MiB', 'wanted: at least 8MiB'],
    ['PARTWAY_MEMORY_BUDGET', 'much', 'wanted: a size such as 64MiB, 5GiB or a number of bytes'],
    ['PARTWAY_MAX_SIZE', '0', 'wanted: at least 1'],
    ['PARTWAY_MAX_SIZE', '1e9', 'wanted: a size such as 64MiB, 5GiB or a number of bytes'],
    ['PARTWAY_MAX_SIZE', '50001GiB', 'wanted: at most 50000GiB, the largest object of S3'],
    ['PARTWAY_KEY_TEMPLATE', '{id}/{user}', 'wanted: a key made with {tenant}, {date}, {id} and {filename}'],
    ['PARTWAY_KEY_TEMPLATE', '../{id}', 'wanted: a key, which must not contain . or .. as a segment'],
    ['PARTWAY_KEY_TEMPLATE', '{filename}', 'wanted: a key with {id}, so that no two are the same'],
    ['PARTWAY_LOG_LEVEL', 'loud', 'wanted: trace, debug, info, warn, error, fatal or silent'],
    ['PARTWAY_STAGING_PREFIX', '.partway', 'wanted: one name that ends with /, such as .partway/'],
    ['PARTWAY_STAGING_PREFIX', '../', 'wanted: one name that ends with /, such as .partway/'],
    ['PARTWAY_STAGING_PREFIX', 'a/b/', 'wanted: one name that ends with /, such as .partway/'],
    ['PARTWAY_READ_OBJECTS', 'some', 'wanted: true or false'],
  ])('%s=%s', (name, given, wanted) => {
    expect(faultsOf({ [name]: given })).toEqual([`  ${name}: given: ${JSON.stringify(given)}, ${wanted}`]);
  });

  it('and all of them are told at once', () => {
    const faults = faultsOf({
      PARTWAY_PORT: 'http',
      PARTWAY_AUTH: 'maybe',
      S3_ENDPOINT: 'minio',
      PARTWAY_RETENTION: 'x',
    });
    expect(faults.map((fault) => fault.trim().split(':')[0])).toEqual([
      'S3_ENDPOINT',
      'PARTWAY_PORT',
      'PARTWAY_AUTH',
      'PARTWAY_RETENTION',
    ]);
  });

  it('but never a secret', () => {
    const secret = 'hunter2';
    const [fault = ''] = faultsOf({ DATABASE_URL: `mysql://root:${secret}@db/partway` });
    expect(fault).toContain('DATABASE_URL: given: (not shown), wanted: a URL that begins with postgres://');
    expect(fault).not.toContain(secret);
    expect(faultsOf({ S3_SECRET_ACCESS_KEY: secret, S3_BUCKET: 'bucket' }).join()).not.toContain(secret);
  });
});

describe('settings that contradict each other', () => {
  it('an S3 endpoint or credentials without a bucket', () => {
    expect(faultsOf({ S3_ENDPOINT: 'http://minio:9000', S3_FORCE_PATH_STYLE: 'true' })).toEqual([
      '  S3_BUCKET: not given, wanted: a bucket, since S3_ENDPOINT, S3_FORCE_PATH_STYLE is set',
    ]);
  });

  it.each(['S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY'])('%s alone', (name) => {
    expect(faultsOf({ S3_BUCKET: 'bucket', [name]: 'value' })).toEqual([
      '  S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY: only one is given, wanted: both or neither',
    ]);
  });

  it.each(['0.0.0.0', '::', '10.0.0.7', 'gateway.example', '128.0.0.1', '127.example'])(
    'no authentication where others can reach it, on %s',
    (PARTWAY_HOST) => {
      const [fault] = faultsOf({ PARTWAY_HOST });
      expect(fault).toContain(`PARTWAY_AUTH: none on PARTWAY_HOST=${PARTWAY_HOST} lets anybody write`);
      expect(readSettings({ PARTWAY_HOST, PARTWAY_AUTH: 'keys' })).toMatchObject({ PARTWAY_HOST });
      expect(readSettings({ PARTWAY_HOST, PARTWAY_ALLOW_ANONYMOUS_PUBLIC: 'true' })).toMatchObject({ PARTWAY_HOST });
    },
  );

  it.each(['localhost', '::1', '127.0.0.1', '127.8.8.8'])('but none on %s is fine', (PARTWAY_HOST) => {
    expect(readSettings({ PARTWAY_HOST })).toMatchObject({ PARTWAY_AUTH: 'none' });
  });
});

describe('names that are not settings', () => {
  it('are warned of under our prefix, without their values, and left alone elsewhere', () => {
    const { warnings } = readSettings({ PARTWAY_PROT: 'secret', HOME: '/root', AWS_PROFILE: 'x', S3_SOMETHING: 'y' });
    expect(warnings).toEqual(['PARTWAY_PROT is not a setting of this program']);
  });

  it('are no reason to warn where they belong to the clients or the tests, or are empty', () => {
    const env = { PARTWAY_URL: 'http://x', PARTWAY_API_KEY: 'k', PARTWAY_TEST_MINIO: '/minio', PARTWAY_PROT: '' };
    expect(readSettings(env).warnings).toEqual([]);
  });
});

describe('values', () => {
  it.each([
    ['1', 1],
    ['64MiB', 64 * MiB],
    ['64 mib', 64 * MiB],
    [' 64MiB ', 64 * MiB],
    ['1.5GiB', 1.5 * 1024 ** 3],
    ['5TiB', 5 * 1024 ** 4],
    ['10kb', 10_000],
    ['2GB', 2e9],
    ['7b', 7],
  ])('the size %s', (text, bytes) => {
    expect(readSettings({ PARTWAY_MAX_SIZE: text }).PARTWAY_MAX_SIZE).toBe(bytes);
  });

  it.each([
    ['15s', 15_000],
    ['0.5s', 500],
    ['30m', 30 * minutes],
    ['1.5h', 1.5 * hours],
    ['7d', 7 * days],
    ['7 D', 7 * days],
    ['3650d', 3650 * days],
  ])('the time %s', (text, ms) => {
    expect(readSettings({ PARTWAY_RETENTION: text }).PARTWAY_RETENTION).toBe(ms);
  });

  it('lists of buckets', () => {
    expect(readSettings({ PARTWAY_BUCKETS: 'one-bucket, other.bucket,,' }).PARTWAY_BUCKETS).toEqual([
      'one-bucket',
      'other.bucket',
    ]);
  });

  it.each([
    ['true', true],
    ['1', true],
    ['YES', true],
    ['false', false],
    ['0', false],
  ])('the flag %s', (text, value) => {
    expect(readSettings({ PARTWAY_READ_OBJECTS: text }).PARTWAY_READ_OBJECTS).toBe(value);
  });

  it('the limits themselves', () => {
    const limits = {
      PARTWAY_PORT: '65535',
      PARTWAY_MAX_SIZE: '50000GiB',
      PARTWAY_MEMORY_BUDGET: '8MiB',
      PARTWAY_BODY_IDLE_TIMEOUT: '1h',
    };
    expect(readSettings(limits)).toMatchObject({
      PARTWAY_PORT: 65_535,
      PARTWAY_MAX_SIZE: 50_000 * 1024 ** 3,
      PARTWAY_MEMORY_BUDGET: 8 * MiB,
      PARTWAY_BODY_IDLE_TIMEOUT: hours,
    });
    expect(readSettings({ PARTWAY_PORT: '0' }).PARTWAY_PORT).toBe(0);
  });
});

describe('the table of settings', () => {
  it('shows each with its default as one would write it', () => {
    const defaults = Object.fromEntries(settingsTable().map(({ name, defaultValue }) => [name, defaultValue]));
    expect(defaults).toMatchObject({
      DATABASE_URL: '',
      PARTWAY_PORT: '8080',
      PARTWAY_BUCKETS: '',
      PARTWAY_MEMORY_BUDGET: '256MiB',
      PARTWAY_MAX_SIZE: '5TiB',
      PARTWAY_UPLOAD_LIFETIME: '7d',
      PARTWAY_BODY_IDLE_TIMEOUT: '15s',
      S3_EQUAL_PARTS: 'false',
    });
    expect(settingsTable().filter(({ description }) => description === '')).toEqual([]);
  });

  it('writes defaults that mean the same when they are given', () => {
    const given = settingsTable().map(({ name, defaultValue }) => [name, defaultValue]);
    expect(readSettings(Object.fromEntries(given))).toEqual(readSettings({}));
  });

  it('is what the documentation shows', async () => {
    const documented = await readFile(new URL('../docs/settings.md', import.meta.url), 'utf8');
    for (const { name } of settingsTable()) expect(documented).toContain(`| \`${name}\` |`);
  });

  it.each([
    [90_000, '90s'],
    [2 * hours, '2h'],
    [1_500, '1500ms'],
  ])('writes %d ms as %s', (ms, text) => {
    expect(formatSpan(ms)).toBe(text);
  });

  it.each([
    [1, '1'],
    [1536, '1536'],
    [1024, '1KiB'],
    [50_000 * 1024 ** 3, '50000GiB'],
  ])('writes %d bytes as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
