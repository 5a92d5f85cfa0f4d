import type { TestProject } from 'vitest/node';
import { openServers } from './servers.ts';

declare module 'vitest' {
  interface ProvidedContext {
    servers: string;
  }
}

export default async function setup(project: TestProject) {
  const servers = await openServers();
  project.provide('servers', servers.url);
  return async () => {
    await servers.close();
    for (const [name, why] of servers.missing) {
      console.warn(`\n  NOT TESTED against ${name}: ${why}.\n  Every test that needs it was left out.\n`);
    }
  };
}
