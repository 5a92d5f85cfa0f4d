import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { RestGateway } from './rest-gateway.ts';
import type { StoreCall } from './store-probe.ts';
import type { Exchange } from './wire.ts';

export interface PartUnderWay {
  readonly exchange: Exchange;
  /** The call to the store that it caused. */
  readonly call: StoreCall;
}

/** A client that sends half of a part and keeps its connection open: the last byte provably does not come. */
export async function sendHalf(
  gateway: RestGateway,
  id: string,
  partNumber: number,
  bytes: Buffer,
): Promise<PartUnderWay> {
  const calls = gateway.probe.calls('uploadPart').length;
  const exchange = gateway.client.openPart(id, partNumber, bytes.length);
  await exchange.write(bytes.subarray(0, bytes.length / 2));
  return { exchange, call: await gateway.probe.nth('uploadPart', calls + 1) };
}

export interface HeldPart extends PartUnderWay {
  /** Lets the store answer. */
  release(): void;
}

/** A part whose last byte has left for the store, which does not answer before `release`. */
export async function sendHeld(gateway: RestGateway, id: string, partNumber: number, bytes: Buffer): Promise<HeldPart> {
  const calls = gateway.probe.calls('uploadPart').length;
  const { release } = gateway.probe.hold('uploadPart');
  const exchange = gateway.client.openPart(id, partNumber, bytes.length);
  await exchange.write(bytes);
  const call = await gateway.probe.nth('uploadPart', calls + 1);
  await finished(call.input.body as Readable, { readable: false });
  return { exchange, call, release };
}
