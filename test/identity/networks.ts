/** The networks of the identity command: one small net of each family that the presets have. */
export const networks = ['mlp', 'conv', 'vgg', 'resnet', 'mobilenet', 'convnext', 'vit', 'mixer', 'gpt2', 'distilbert'] as const;
export type NetworkName = (typeof networks)[number];
