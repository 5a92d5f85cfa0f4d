/** What a relay in Node costs at least: every request is piped to the same path of the target, and nothing else is done. */
import { Agent, createServer, request } from 'node:http';
import { listen } from './say-ready.ts';

const target = new URL(process.argv[2] ?? '');
const agent = new Agent({ keepAlive: true });

listen(
  createServer((incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const onward = request({ host: target.hostname, port: target.port, method, path, headers, agent }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on('error', () => outgoing.destroy());
    incoming.on('error', () => onward.destroy());
    incoming.pipe(onward);
  }),
);
