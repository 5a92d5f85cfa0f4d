import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { inject } from 'vitest';
import type { ServerAnswer, ServerName } from './servers.ts';

/** Asks the test run for one of its servers. Where there is none the run says so at its end; under CI that is a failure. */
export async function askForServer(name: ServerName): Promise<ServerAnswer> {
  const { status, body } = await read(`${inject('servers')}/${name}`);
  if (status !== 200) throw new Error(`${name} did not start: ${body}`);
  const answer = JSON.parse(body) as ServerAnswer;
  if ('missing' in answer && process.env.CI === 'true') throw new Error(`No ${name}: ${answer.missing}.`);
  return answer;
}

/** `fetch` gives up after five minutes without headers; a server that is built first can take longer. */
function read(url: string): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode, body }), reject);
    }).once('error', reject);
  });
}
