type Call = (...parameters: never[]) => unknown;
type Methods<T> = { [K in keyof T]: T[K] extends Call ? K : never }[keyof T] & string;
type ParametersOf<T, K extends keyof T> = T[K] extends (...parameters: infer P) => unknown ? P : never;
type ResultOf<T, K extends keyof T> = T[K] extends (...parameters: never[]) => infer R ? R : never;
/** Stands in for one call; `proceed` is the real one. */
export type Interception<T, K extends keyof T> = (
  proceed: () => ResultOf<T, K>,
  ...parameters: ParametersOf<T, K>
) => ResultOf<T, K>;

/** A port whose real implementation answers, but for the calls that a test makes fail. */
export class Intercepted<T extends object> {
  readonly port: T;
  /** The names of the calls made, in order. */
  readonly calls: string[] = [];
  readonly #next = new Map<string, Interception<T, never>[]>();
  readonly #always = new Map<string, Interception<T, never>>();

  constructor(real: T) {
    this.port = new Proxy(real, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== 'function' || typeof name !== 'string') return member;
        return (...parameters: unknown[]) => {
          this.calls.push(name);
          const proceed = () => Reflect.apply(member, target, parameters);
          const interception = (this.#next.get(name)?.shift() ?? this.#always.get(name)) as Call | undefined;
          return interception === undefined
            ? proceed()
            : Reflect.apply(interception, undefined, [proceed, ...parameters]);
        };
      },
    });
  }

  /** The next call of this name goes through here; several are taken in turn. */
  next<K extends Methods<T>>(name: K, ...interceptions: Interception<T, K>[]): void {
    const queue = (this.#next.get(name) ?? []) as unknown[];
    this.#next.set(name, [...queue, ...interceptions] as Interception<T, never>[]);
  }

  /** Every call of this name goes through here, until `reset`. */
  always<K extends Methods<T>>(name: K, interception: Interception<T, K>): void {
    this.#always.set(name, interception as unknown as Interception<T, never>);
  }

  reset(): void {
    this.#next.clear();
    this.#always.clear();
    this.calls.length = 0;
  }
}
