/** Networks that several frameworks publish, each under names of its own: from theirs to those of the presets. */
import type { NameRule } from './name-rules.ts';

export interface NamingScheme {
  /** Whose names they are, for reports. */
  readonly name: string;
  /** A tensor that every network of the scheme has: what stands before it is a prefix of all of them. */
  readonly anchor: string;
  readonly rules: readonly NameRule[];
}

const TORCHVISION_BLOCK = 'encoder.layers.encoder_layer_*';

/** Layouts are the same: `nn.MultiheadAttention` stacks queries, keys and values in its `in_proj` as timm does in `attn.qkv`. */
const torchvisionVit: NamingScheme = {
  name: "torchvision's vision transformer",
  anchor: 'class_token',
  rules: [
    { from: 'class_token', to: 'cls_token' },
    { from: 'conv_proj.*', to: 'patch_embed.proj.$1' },
    { from: 'encoder.pos_embedding', to: 'pos_embed' },
    { from: `${TORCHVISION_BLOCK}.ln_1.*`, to: 'blocks.$1.norm1.$2' },
    { from: `${TORCHVISION_BLOCK}.self_attention.in_proj_*`, to: 'blocks.$1.attn.qkv.$2' },
    { from: `${TORCHVISION_BLOCK}.self_attention.out_proj.*`, to: 'blocks.$1.attn.proj.$2' },
    { from: `${TORCHVISION_BLOCK}.ln_2.*`, to: 'blocks.$1.norm2.$2' },
    { from: `${TORCHVISION_BLOCK}.mlp.0.*`, to: 'blocks.$1.mlp.fc1.$2' },
    { from: `${TORCHVISION_BLOCK}.mlp.3.*`, to: 'blocks.$1.mlp.fc2.$2' },
    // Before torchvision 0.13.
    { from: `${TORCHVISION_BLOCK}.mlp.linear_1.*`, to: 'blocks.$1.mlp.fc1.$2' },
    { from: `${TORCHVISION_BLOCK}.mlp.linear_2.*`, to: 'blocks.$1.mlp.fc2.$2' },
    { from: 'encoder.ln.*', to: 'norm.$1' },
    { from: 'heads.head.*', to: 'head.$1' },
  ],
};

const schemes: readonly NamingScheme[] = [torchvisionVit];

/** The scheme that `names` are of and its rules, under the prefix they have there; undefined where they are of none, or of several networks. */
export function namingSchemeOf(names: Iterable<string>): { readonly name: string; readonly rules: readonly NameRule[] } | undefined {
  const list = [...names];
  for (const { name, anchor, rules } of schemes) {
    const prefixes = list.filter((one) => one === anchor || one.endsWith(`.${anchor}`)).map((one) => one.slice(0, -anchor.length));
    const [prefix] = prefixes;
    // Of rules, these are wildcards and references.
    if (prefix === undefined || prefixes.length > 1 || /[*$]/.test(prefix)) continue;
    return { name, rules: rules.map(({ from, to }) => ({ from: prefix + from, to: prefix + to })) };
  }
  return undefined;
}
