import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** The browser that clients are tested in; `undefined` where there is none, which is said loudly, and fails where `CI=true`. */
export async function findChromium(client: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'chromium');
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  if (process.env.CI === 'true') throw new Error('There is no chromium in PATH.');
  console.warn(`\n  NOT TESTED with ${client}: there is no chromium in PATH.\n`);
  return undefined;
}
