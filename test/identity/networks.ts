/** The networks of the identity command: one without, one with pooling, one with batch norm, one with attention, one depthwise. */
export const networks = ['mlp', 'conv', 'resnet', 'vit', 'mobilenet'] as const;
export type NetworkName = (typeof networks)[number];
