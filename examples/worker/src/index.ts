/** trajport as a Worker: POST a bundle, the target's weights and data; the transferred weights come back. */
import { createTransferHandler } from 'trajport/edge';

export default { fetch: createTransferHandler() };
