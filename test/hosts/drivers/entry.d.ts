/** Stands for the file that `bundleForHost` is given. */
declare module 'trajport:entry' {
  export function run(input: never): Promise<unknown>;
}
