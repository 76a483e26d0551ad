/** Objects without the members that are `undefined`: a call takes an option that is left out, and none that is undefined. */

type OnlyDefined<T> = { readonly [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  readonly [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** The members that are not undefined, in their order. */
export function onlyDefined<T extends object>(members: T): OnlyDefined<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as OnlyDefined<T>;
}
