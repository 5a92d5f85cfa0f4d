import type { CallOptions, ObjectStore } from '../../../src/core/object-store.ts';

export interface StoreCall {
  readonly method: string;
  readonly input: Readonly<Record<string, unknown>>;
  readonly options: CallOptions | undefined;
  /** How it ended, once it has. */
  readonly ended: Promise<PromiseSettledResult<unknown>>;
}

/** Runs before a call goes to the store: may wait, or throw what the store is to answer. */
type Before = (call: Pick<StoreCall, 'input' | 'options'>) => Promise<void> | void;

/** Runs once the store has done it: may wait, or throw what the gateway gets in place of the answer. */
type After = () => Promise<void> | void;

/** Stands between gateway and store: counts the calls, and holds or fails those that a test names. */
export class StoreProbe {
  readonly #calls: StoreCall[] = [];
  readonly #before = new Map<string, Before>();
  readonly #after = new Map<string, After>();
  readonly #watchers = new Set<() => void>();

  #store: ObjectStore | undefined;

  /** The store itself: what is done here is no call of the gateway's. */
  get store(): ObjectStore {
    if (this.#store === undefined) throw new Error('the probe stands before no store yet');
    return this.#store;
  }

  readonly wrap = (store: ObjectStore): ObjectStore => {
    this.#store = store;
    return new Proxy(store, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== 'function' || typeof property !== 'string') return value;
        return (...args: unknown[]) => this.#call(property, args, () => value.apply(target, args));
      },
    });
  };

  /** Calls of this method, or of all, since the last `forget`. */
  calls(method?: string): readonly StoreCall[] {
    return this.#calls.filter((call) => method === undefined || call.method === method);
  }

  /** Calls that a client's request caused; the reaper's and the health checks' are none of them. */
  forget(): void {
    this.#calls.length = 0;
  }

  /** Lets every call of this method pass `before` first, until the returned function is called. */
  before(method: keyof ObjectStore, before: Before): () => void {
    this.#before.set(method, before);
    return () => this.#before.delete(method);
  }

  /** Lets every call of this method that succeeded pass `after`, until the returned function is called. */
  after(method: keyof ObjectStore, after: After): () => void {
    this.#after.set(method, after);
    return () => this.#after.delete(method);
  }

  /** Holds the calls of this method until `release`. */
  hold(method: keyof ObjectStore): { readonly reached: Promise<void>; release(): void } {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const letPass = this.before(method, () => {
      reached.resolve();
      return released.promise;
    });
    return {
      reached: reached.promise,
      release: () => {
        letPass();
        released.resolve();
      },
    };
  }

  /** The nth call of this method, past or to come. */
  async nth(method: keyof ObjectStore, count: number): Promise<StoreCall> {
    for (;;) {
      const call = this.calls(method)[count - 1];
      if (call !== undefined) return call;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  #call(method: string, args: unknown[], run: () => unknown): unknown {
    const [input = {}, options] = args as [Record<string, unknown>?, CallOptions?];
    const before = this.#before.get(method);
    const done = before === undefined ? run() : Promise.resolve(before({ input, options })).then(run);
    const after = this.#after.get(method);
    const result = after === undefined ? done : passOn(done, after);
    if (!(result instanceof Promise) && !isAsyncIterable(result)) return result;
    const ended = result instanceof Promise ? Promise.allSettled([result]).then(([end]) => end!) : never;
    this.#calls.push({ method, input, options, ended });
    for (const wake of this.#watchers) wake();
    this.#watchers.clear();
    return result;
  }
}

async function passOn(done: unknown, after: After): Promise<unknown> {
  const value = await done;
  await after();
  return value;
}

/** A listing has no one end. */
const never = new Promise<never>(() => undefined);

function isAsyncIterable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
