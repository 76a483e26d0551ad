/** The networks of the identity command: one without, one with pooling, one with batch norm. */
export const networks = ['mlp', 'conv', 'resnet'] as const;
export type NetworkName = (typeof networks)[number];
