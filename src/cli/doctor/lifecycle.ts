import { formatSpan, type Settings } from '../../config.ts';
import type { surveyStore } from '../../create-store.ts';
import type { Section } from './section.ts';

type Survey = Awaited<ReturnType<typeof surveyStore>>;
type Rule = NonNullable<Survey['lifecycle']>[number];

const dayMs = 86_400_000;

/** What the store will do to uploads by itself. @param keepsMs as the store's kind is known for */
export function judgeLifecycle(
  section: Section,
  rules: Survey['lifecycle'],
  settings: Settings,
  keepsMs: number | undefined,
): void {
  judgePurge(section, settings, keepsMs);
  if (rules === undefined) {
    section.note('lifecycle', 'it does not tell the lifecycle rules of the bucket');
    return;
  }
  const ours = rules.filter(({ onlyTagged }) => !onlyTagged);
  const livesMs = Math.min(
    settings.PARTWAY_UPLOAD_LIFETIME,
    settings.PARTWAY_STORE_KEEPS ?? keepsMs ?? Number.POSITIVE_INFINITY,
  );
  for (const rule of ours) judgeRule(section, rule, livesMs, settings.PARTWAY_STAGING_PREFIX);
  if (ours.length === 0) section.ok('lifecycle', 'no lifecycle rule of the bucket touches uploads');
}

function judgePurge(section: Section, settings: Settings, keepsMs: number | undefined): void {
  if (keepsMs === undefined) return;
  const details = { keepsMs };
  const given = settings.PARTWAY_STORE_KEEPS;
  if (given === undefined) {
    section.warn(
      'purge',
      `MinIO deletes unfinished uploads ${formatSpan(keepsMs)} after their creation, so none lives longer here; for more ` +
        'raise MINIO_API_STALE_UPLOADS_EXPIRY there and set PARTWAY_STORE_KEEPS to the same time',
      details,
    );
  } else if (given > keepsMs) {
    section.note(
      'purge',
      `MinIO must be set to keep unfinished uploads (MINIO_API_STALE_UPLOADS_EXPIRY) for PARTWAY_STORE_KEEPS, ${formatSpan(given)}`,
      details,
    );
  }
}

function judgeRule(section: Section, rule: Rule, livesMs: number, stagingPrefix: string): void {
  const name = `lifecycle rule "${rule.id}"${rule.prefix === '' ? '' : ` (keys under "${rule.prefix}")`}`;
  const { abortsUploadsAfterDays: abortsAfter, expiresAfterDays: expiresAfter, expiresOn } = rule;
  if (abortsAfter !== undefined) {
    const tooSoon = abortsAfter * dayMs < livesMs;
    const advice = tooSoon ? `, and uploads live ${formatSpan(livesMs)}: set PARTWAY_STORE_KEEPS=${abortsAfter}d` : '';
    section[tooSoon ? 'warn' : 'ok'](
      'lifecycle',
      `${name} aborts unfinished uploads after ${days(abortsAfter)}${advice}`,
      {
        rule,
      },
    );
  }
  if (expiresAfter === undefined && expiresOn === undefined) return;
  const when =
    expiresOn === undefined ? `after ${days(expiresAfter ?? 0)}` : `from ${expiresOn.toISOString().slice(0, 10)} on`;
  const hitsFragments =
    overlaps(rule.prefix, stagingPrefix) && (expiresAfter === undefined || expiresAfter * dayMs < livesMs);
  if (hitsFragments) {
    section.warn(
      'lifecycle',
      `${name} deletes objects ${when}, also what unfinished uploads keep under ${stagingPrefix}: leave that prefix out`,
      { rule },
    );
  } else section.note('lifecycle', `${name} deletes objects ${when}`, { rule });
}

function overlaps(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one);
}

function days(count: number): string {
  return count === 1 ? '1 day' : `${count} days`;
}
