import type { Deps } from './deps.ts';
import type { Part } from './upload.ts';

const pageSize = 1000;

/** All durable parts of an upload with a number above `after`, ascending, a page at a time. */
export async function partsOf(deps: Pick<Deps, 'records'>, uploadId: string, after = 0): Promise<Part[]> {
  const all: Part[] = [];
  for (;;) {
    const page = await deps.records.listParts(uploadId, { after: all.at(-1)?.partNumber ?? after, limit: pageSize });
    all.push(...page);
    if (page.length < pageSize) return all;
  }
}
