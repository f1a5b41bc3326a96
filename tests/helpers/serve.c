/* Calls a SavedModel through the C API of TensorFlow, by the loader of the server.
 *
 *     serve FOLDER CALLS OUTPUT [INPUT TYPE DIMENSIONS FILE] ...
 *
 * INPUT and OUTPUT are names of tensors without the number at their end, which follows
 * a colon; TYPE is float, uint8, int32 or string; DIMENSIONS are 2x16x16x1, or a dash
 * for a scalar; FILE holds the bytes. A string is one file in a batch of one. Each call
 * prints the output, float32, on a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

enum { MAX_INPUTS = 8, MAX_RANK = 8 };

static void fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(const TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (!file) fail(path, "cannot be read");
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char* content = malloc(*size + 1);
  if (fread(content, 1, *size, file) != *size) fail(path, "cannot be read");
  fclose(file);
  return content;
}

static TF_Tensor* string_tensor(const char* content, size_t size) {
  const int64_t one = 1;
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, &one, 1, sizeof(TF_TString));
  TF_TString* text = TF_TensorData(tensor);
  TF_StringInit(text);
  TF_StringCopy(text, content, size);
  return tensor;
}

static TF_Tensor* read_tensor(const char* type, const char* dimensions,
                              const char* path) {
  size_t size;
  char* content = read_file(path, &size);
  TF_Tensor* tensor;
  if (!strcmp(type, "string")) {
    tensor = string_tensor(content, size);
  } else {
    TF_DataType kind = !strcmp(type, "float")   ? TF_FLOAT
                       : !strcmp(type, "uint8") ? TF_UINT8
                                                : TF_INT32;
    int64_t shape[MAX_RANK];
    int rank = 0;
    for (const char* at = dimensions; *at && *at != '-' && rank < MAX_RANK;) {
      char* end;
      shape[rank++] = strtol(at, &end, 10);
      at = *end ? end + 1 : end;
    }
    tensor = TF_AllocateTensor(kind, shape, rank, size);
    if (TF_TensorByteSize(tensor) != size) fail(path, "has another size");
    memcpy(TF_TensorData(tensor), content, size);
  }
  free(content);
  return tensor;
}

static TF_Output find(TF_Graph* graph, const char* name) {
  char copy[1024];
  snprintf(copy, sizeof copy, "%s", name);
  char* colon = strrchr(copy, ':');
  if (!colon) fail(name, "has no number");
  *colon = 0;
  TF_Output output = {TF_GraphOperationByName(graph, copy), atoi(colon + 1)};
  if (!output.oper) fail(name, "is not in the graph");
  return output;
}

int main(int count, char** words) {
  if (count < 4 || count % 4 || (count - 4) / 4 > MAX_INPUTS)
    fail(words[0], "FOLDER CALLS OUTPUT [INPUT TYPE DIMENSIONS FILE] ...");
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(
      options, NULL, words[1], tags, 1, graph, NULL, status);
  check(status, "loading");

  TF_Output inputs[MAX_INPUTS], output = find(graph, words[3]);
  TF_Tensor* values[MAX_INPUTS];
  int num_inputs = (count - 4) / 4;
  for (int i = 0; i < num_inputs; i++) {
    char** input = words + 4 + 4 * i;
    inputs[i] = find(graph, input[0]);
    values[i] = read_tensor(input[1], input[2], input[3]);
  }
  for (int call = 0; call < atoi(words[2]); call++) {
    TF_Tensor* result = NULL;
    TF_SessionRun(session, NULL, inputs, values, num_inputs, &output, &result, 1, NULL,
                  0, NULL, status);
    check(status, "running");
    const float* numbers = TF_TensorData(result);
    for (int64_t i = 0; i < TF_TensorElementCount(result); i++)
      printf("%.9g ", numbers[i]);
    printf("\n");
    TF_DeleteTensor(result);
  }
  for (int i = 0; i < num_inputs; i++) TF_DeleteTensor(values[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
