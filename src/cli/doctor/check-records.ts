import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Settings } from '../../config.ts';
import type { ExitCode } from '../exit-codes.ts';
import { deadlineMs, messageOf } from './connect.ts';
import { Section } from './section.ts';

/** Postgres's codes that say who may not come in, and those of a name or setting that is wrong (manual, appendix A). */
const unauthorized = /^(28|42501)/;
const passing = /^(08|53|57P|58|E[A-Z]+)/;

/** The records, without starting or migrating any. */
export async function checkRecords(settings: Settings): Promise<Section> {
  const section = new Section('records');
  const url = settings.DATABASE_URL ?? (await runningEmbedded(section, resolve(settings.PARTWAY_DATA_DIR)));
  if (url === undefined) return section;
  const { host, pathname } = new URL(url);
  const place = settings.DATABASE_URL === undefined ? 'the embedded Postgres' : `${host}${pathname}`;
  const { surveyRecords } = await import('../../db/survey.ts');
  try {
    judge(section, place, await surveyRecords(url, deadlineMs));
  } catch (error) {
    section.fault('connect', exitCodeOf(error), `${place} cannot be used: ${messageOf(error)}`);
  }
  return section;
}

async function runningEmbedded(section: Section, dataDir: string): Promise<string | undefined> {
  const { findRunningEmbeddedPostgres } = await import('../../db/embedded-postgres.ts');
  const running = await findRunningEmbeddedPostgres(dataDir);
  if (running !== undefined) return running.url;
  section.note(
    'embedded',
    existsSync(join(dataDir, 'postgres'))
      ? `the embedded Postgres in ${dataDir} does not run now: it starts with the gateway`
      : `DATABASE_URL is not set, and no gateway has run in ${dataDir}: its first start makes a Postgres there`,
  );
  return undefined;
}

function judge(
  section: Section,
  place: string,
  survey: Awaited<ReturnType<typeof import('../../db/survey.ts').surveyRecords>>,
): void {
  const { version, majorVersion, appliedMigrations: applied, knownMigrations: known } = survey;
  section.ok('connect', `${place} answers: Postgres ${version}`, { version });
  if (majorVersion < 14) section.fault('version', 2, `Postgres ${version} is too old: wanted is 14 or newer`);
  const details = { applied, known };
  if (applied === known) {
    section.ok('migrations', `all ${known} migrations are applied`, details);
  } else if (applied > known) {
    section.fault('migrations', 2, 'the records are those of a newer version of this program', details);
  } else {
    const missing = `${known - applied} of ${known} migrations are not applied`;
    section.warn('migrations', `${missing}: the next start of a gateway applies them`, details);
    if (!survey.mayCreateTables) section.fault('privileges', 6, 'its user may not create the tables that are missing');
  }
}

function exitCodeOf(error: unknown): ExitCode {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (unauthorized.test(code)) return 6;
  if (code === 'ENOTFOUND') return 2;
  if (passing.test(code) || (code === '' && /timeout|terminated/i.test(messageOf(error)))) return 5;
  return code === '' ? 1 : 2;
}
