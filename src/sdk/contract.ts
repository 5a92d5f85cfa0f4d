/* The shapes of the REST contract, as the gateway's OpenAPI document describes them. */
export type {
  CreateJson,
  MissingPartJson,
  PartJson,
  PartListJson,
  ProblemJson,
  SignedPartsJson,
  UploadJson,
  UploadListJson,
} from '../protocols/rest/contract.ts';
