//! What can go wrong, in the words of CodeCommit's errors. Mapped to AWS's codes in one place.
//! Source: <https://docs.aws.amazon.com/codecommit/latest/APIReference/CommonErrors.html> and each
//! operation's page.

use crate::git::GitError;
use towpath_api::ApiError;
use towpath_api_codecommit::errors;
use towpath_store::StoreError;

/// Each line: the variant, what it carries, the generated constructor, the text.
macro_rules! errors {
    ($($variant:ident $(($($kind:ty),*))? => $constructor:ident, $text:literal;)*) => {
        #[derive(Debug, thiserror::Error)]
        pub enum Error {
            $(#[error($text)] $variant $(($($kind),*))?,)*
            #[error(transparent)]
            Git(#[from] GitError),
            #[error(transparent)]
            Store(#[from] StoreError),
            /// Already in its final form: a denial, or another service's answer.
            #[error(transparent)]
            Api(#[from] ApiError),
        }

        impl From<Error> for ApiError {
            fn from(error: Error) -> ApiError {
                let message = error.to_string();
                match error {
                    $(errors!(@pattern $variant $(($($kind),*))?) => errors::$constructor(message),)*
                    Error::Git(GitError::Busy(_)) => {
                        ApiError::client("ServiceUnavailable", message).with_status(503)
                    }
                    Error::Git(error) => ApiError::internal(error),
                    Error::Store(error) => ApiError::from(error),
                    Error::Api(error) => error,
                }
            }
        }
    };
    (@pattern $variant:ident ($($kind:ty),*)) => { Error::$variant(..) };
    (@pattern $variant:ident) => { Error::$variant };
}

errors! {
    RepositoryNameRequired => repository_name_required_exception, "A repository name is required.";
    RepositoryNamesRequired => repository_names_required_exception, "At least one repository name is required.";
    TooManyRepositoryNames(usize) => maximum_repository_names_exceeded_exception,
        "At most {0} repository names can be given at once.";
    InvalidRepositoryName => invalid_repository_name_exception,
        "The repository name is not valid. Repository names can be any valid combination of letters, numbers, \
         periods, underscores, and dashes between 1 and 100 characters in length. Names are case sensitive. For \
         more information, see Limits in the AWS CodeCommit User Guide. ";
    RepositoryDoesNotExist(String) => repository_does_not_exist_exception, "{0} does not exist";
    RepositoryNameExists(String) => repository_name_exists_exception, "Repository named {0} already exists";
    InvalidDescription => invalid_repository_description_exception,
        "The repository description is not valid: at most 1,000 characters, without control characters.";
    RepositoryLimit(usize) => repository_limit_exceeded_exception,
        "This account has {0} repositories, which is the limit. Delete one first.";
    BranchNameRequired => branch_name_required_exception, "A branch name is required.";
    InvalidBranchName(String) => invalid_branch_name_exception,
        "The branch name {0} is not valid. A branch name has up to 256 characters and follows git's rules for \
         references.";
    BranchDoesNotExist(String) => branch_does_not_exist_exception, "The branch {0} does not exist.";
    BranchNameExists(String) => branch_name_exists_exception,
        "The branch {0} exists already. Branch names must be unique.";
    BranchNameConflicts(String, String) => branch_name_exists_exception,
        "The branch {0} cannot be created: git refuses it ({1}).";
    BranchNameIsTagName(String) => branch_name_is_tag_name_exception,
        "{0} is a tag's name, not a branch's. ListBranches names the branches.";
    DefaultBranch(String) => default_branch_cannot_be_deleted_exception,
        "{0} is the default branch and cannot be deleted. Make another branch the default first.";
    CommitIdRequired => commit_id_required_exception, "A commit ID is required.";
    InvalidCommitId(String) => invalid_commit_id_exception,
        "The commit ID {0} is not valid. A full ID has 40 hexadecimal digits.";
    CommitIdDoesNotExist(String) => commit_id_does_not_exist_exception, "The commit {0} does not exist.";
    CommitIdsRequired => commit_ids_list_required_exception, "At least one commit ID is required.";
    TooManyCommitIds(usize) => commit_ids_limit_exceeded_exception, "At most {0} commit IDs can be given at once.";
    CommitRequired => commit_required_exception,
        "A commit is required: a branch, a tag, HEAD or a full commit ID.";
    InvalidCommit(String) => invalid_commit_exception,
        "{0} is not a valid commit: give a branch, a tag, HEAD or a full commit ID.";
    CommitDoesNotExist(String) => commit_does_not_exist_exception, "The commit {0} does not exist.";
    BlobIdRequired => blob_id_required_exception, "A blob ID is required.";
    InvalidBlobId(String) => invalid_blob_id_exception,
        "The blob ID {0} is not valid. A full ID has 40 hexadecimal digits.";
    BlobIdDoesNotExist(String) => blob_id_does_not_exist_exception, "The blob {0} does not exist.";
    PathRequired => path_required_exception, "A path is required.";
    InvalidPath(String) => invalid_path_exception,
        "The path {0} is not valid. A path is relative to the repository's root, has up to 4,096 characters and 20 \
         folders, and no part of it is empty, '.', '..' or '.git'.";
    PathDoesNotExist(String) => path_does_not_exist_exception, "Could not find path {0}";
    FileDoesNotExist(String) => file_does_not_exist_exception, "Could not find path {0}";
    FolderDoesNotExist(String) => folder_does_not_exist_exception, "Could not find path {0}";
    FileTooLarge(String, u64) => file_too_large_exception,
        "{0} has {1} bytes; the API returns files of up to 6 MB. Clone the repository to read it.";
    FileContentRequired => file_content_required_exception, "The file's content is required.";
    FileContentTooLarge(String) => file_content_size_limit_exceeded_exception,
        "The content of {0} is larger than 6 MB. Push larger files with git.";
    FolderContentTooLarge(usize) => folder_content_size_limit_exceeded_exception,
        "The files of this commit have more than {0} MB together. Push them with git.";
    SameFileContent(String) => same_file_content_exception,
        "{0} has the same content and mode in the branch already.";
    NoChange => no_change_exception, "The commit would change nothing.";
    ParentRequired(String) => parent_commit_id_required_exception,
        "The branch {0} exists: the ID of its newest commit is required as parentCommitId.";
    InvalidParentId(String) => invalid_parent_commit_id_exception,
        "The parent commit ID {0} is not valid. A full ID has 40 hexadecimal digits.";
    ParentDoesNotExist(String) => parent_commit_does_not_exist_exception,
        "The parent commit {0} does not exist in the repository.";
    ParentOutdated(String, String, String) => parent_commit_id_outdated_exception,
        "The parent commit {0} is not the newest of branch {1}, which is {2}. Read the branch again, then repeat \
         the change on top of it.";
    NameTooLong => name_length_exceeded_exception, "The author's name has more than 1,024 characters.";
    InvalidEmail => invalid_email_exception,
        "The email address is not valid: up to 256 characters, without line breaks, '<' or '>'.";
    MessageTooLong => commit_message_length_exceeded_exception, "The commit message is larger than 20 MB.";
    FileEntryRequired => file_entry_required_exception,
        "At least one file is required in putFiles, deleteFiles or setFileModes.";
    TooManyFileEntries(usize) => maximum_file_entries_exceeded_exception, "At most {0} files can change at once.";
    PutFileConflict(String) => put_file_entry_conflict_exception, "{0} is named more than once in putFiles.";
    SamePath(String) => same_path_request_exception, "{0} is named more than once in the request.";
    ContentAndSource(String) => file_content_and_source_file_specified_exception,
        "{0}: give either the content or a source file, not both.";
    ContentOrSource(String) => source_file_or_content_required_exception,
        "{0}: give the content, or a source file to copy or move.";
    RestrictedSource(String) => restricted_source_file_exception,
        "The source file {0} is changed elsewhere in the same request.";
    FileModeRequired(String) => file_mode_required_exception, "{0}: the file mode is required.";
    InvalidFileMode(String) => invalid_file_mode_exception,
        "The file mode {0} is not valid. It is EXECUTABLE, NORMAL or SYMLINK.";
    FileIsFolder(String) => file_name_conflicts_with_directory_name_exception, "{0} is a folder in the branch.";
    FolderIsFile(String) => directory_name_conflicts_with_file_name_exception, "{0} is a file in the branch.";
    PathIsSubmodule(String) => file_path_conflicts_with_submodule_path_exception, "{0} is a submodule in the branch.";
    InvalidSortBy(String) => invalid_sort_by_exception, "{0} is no order: repositoryName or lastModifiedDate.";
    InvalidOrder(String) => invalid_order_exception, "{0} is no direction: ascending or descending.";
    InvalidToken => invalid_continuation_token_exception,
        "The nextToken is not valid. Use the one that the previous answer gave, with the same parameters.";
    InvalidMaxResults(i64) => invalid_max_results_exception, "maxResults {0} is not valid: it is at least 1.";
    ArnRequired => resource_arn_required_exception, "A resource ARN is required.";
    InvalidArn(String) => invalid_resource_arn_exception, "{0} is not the ARN of a repository of this account and region.";
    TagsRequired => tags_map_required_exception, "At least one tag is required.";
    TagKeysRequired => tag_keys_list_required_exception, "At least one tag key is required.";
    InvalidTags(String) => invalid_tags_map_exception, "{0}";
    InvalidTagKeys => invalid_tag_keys_list_exception, "A tag key has between 1 and 128 characters.";
    SystemTag(String) => invalid_system_tag_usage_exception, "The tag key {0} begins with aws:, which is reserved.";
    TooManyTags(usize) => too_many_tags_exception, "A repository has at most {0} tags.";
}
